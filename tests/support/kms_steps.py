"""The steps of `kms check`, as tests/support/kms_probe prints them."""
VAULT_STEPS = ["resolve", "connect", "tls", "server", "login", "token", "permission-read",
               "permission-encrypt", "permission-decrypt", "permission-rewrap", "permission-renew",
               "permission-excess", "key", "key-type", "key-settings", "encrypt", "decrypt",
               "rewrap"]
KMIP_STEPS = ["resolve", "connect", "client-certificate", "tls", "login", "protocol", "server", "key",
              "key-type", "key-state", "key-usage", "encrypt", "decrypt"]


class Step:
    def __init__(self, line):
        self.result, self.name, self.kind, self.text, self.action = line.split("|")

    def __repr__(self):
        return f"{self.result} {self.name} [{self.kind}] {self.text} -> {self.action}"


def check(probe, **changes):
    """The steps, by name; the first that failed is also at None."""
    lines = probe("check", **changes).splitlines()
    assert lines[0] == "OK", lines
    steps = [Step(line) for line in lines[1:]]
    for step in steps:
        assert (step.result in ("warning", "failed")) == bool(step.action), step
        assert (step.result == "failed") == bool(step.kind), step
    found = {}
    for step in steps:
        found.setdefault(step.name, step)
    found[None] = next((step for step in steps if step.result == "failed"), None)
    return found


def assert_fails(steps, name, kind, *words):
    """That the first failure is this one, and that what needs it was skipped."""
    step = steps[None]
    assert step and (step.name, step.kind) == (name, kind), steps
    for word in words:
        assert word in step.text + " " + step.action, step
    return step


def not_ok(steps):
    return {name: step.result for name, step in steps.items()
            if name and step.result not in ("ok", "skipped")}
