"""Filesystems with a login of their own to the key server, and keys in namespaces: with OpenBao, which
has namespaces, and with Vault's core."""
import json
import os
import re

import pytest

from instance import ApiError
from servers import VaultError
from test_kms_changes import kill_during

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")

NUMBERS = iter(range(1000))


class Team:
    """A key, and an AppRole that alone may use it, perhaps in a namespace of its own."""

    def __init__(self, kms, namespace=None):
        number = next(NUMBERS)
        self.kms, self.namespace = kms, namespace
        self.key = self.name = f"team-{number}"
        if namespace:
            try:
                kms.api("POST", f"sys/namespaces/{namespace}", {})
                self.api("POST", "sys/mounts/transit", {"type": "transit"})
            except VaultError as error:
                assert error.status == 400, error  # it is there
        self.make_key(self.key)
        self.role_id, self.secret_id = kms.approle(self.name, [self.name], namespace=namespace,
                                                   token_type="batch", token_ttl="20m")

    def api(self, method, path, body=None):
        return self.kms.api(method, path, body, namespace=self.namespace)

    def make_key(self, *names):
        for name in names:
            self.api("POST", f"transit/keys/{name}", {})
        rules = "".join(f'path "transit/{what}/{name}" {{ capabilities = ["{right}"] }}\n'
                        for name in {self.key, *names}
                        for what, right in (("keys", "read"), ("encrypt", "update"),
                                            ("decrypt", "update"), ("rewrap", "update")))
        self.api("PUT", f"sys/policies/acl/{self.name}", {"policy": rules})

    def rotate_key(self):
        self.api("POST", f"transit/keys/{self.key}/rotate", {})

    def new_secret_id(self):
        """The one before goes on working."""
        self.secret_id = self.api("POST", f"auth/approle/role/{self.name}/secret-id",
                                  {})["data"]["secret_id"]
        return self.secret_id

    def destroy(self, secret_id):
        self.api("POST", f"auth/approle/role/{self.name}/secret-id/destroy",
                 {"secret_id": secret_id})

    def options(self):
        return ["--kms-key-identifier", self.key, "--kms-role-id", self.role_id,
                *(["--kms-namespace", self.namespace] if self.namespace else [])]


@pytest.fixture
def kms(request):
    """OpenBao, unless a test asks for another one, too."""
    return request.getfixturevalue(getattr(request, "param", "openbao"))


@pytest.fixture
def shared(kms, instance):
    """The configured key; the login may use no other."""
    name = f"shared-{next(NUMBERS)}"
    kms.create_key(name)
    set_kms(instance, kms, name)
    return name


@pytest.fixture
def team(kms, shared):
    return Team(kms, "crew" if type(kms).__name__ == "OpenBaoServer" else None)


def set_kms(instance, kms, key, **more):
    return instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": kms.address, "key": key,
                                               "token": kms.coffer_token(key), **more})


def add(instance, name, team, check=True):
    return instance.run("fs", "add", name, *team.options(), "--kms-secret-id", "-",
                        input=team.secret_id, check=check)


def wrapped(instance, name="data"):
    view = instance.view(name)
    return view["kms_key"], view["kms_key_version"], view["kms_namespace"], view["kms_role"]


def mount_and_write(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    (folder / "file").write_text("content")


def assert_opens(instance, tmp_path, *names):
    for name in names or ("data",):
        folder = instance.mount_anew(name, tmp_path / name)
        assert (folder / "file").read_text() == "content"


def restart(instance):
    """cofferd and all workers, as after a restart of the host."""
    for row in instance.api("GET", "/api/v1/filesystems"):
        if row["mounted_at"]:
            instance.run("fs", "umount", row["name"])
    instance.stop()
    instance.start()


def alerts(instance, kind):
    return {row["filesystem"]: row["text"] for row in instance.api("GET", "/api/v1/alerts")
            if row["type"] == kind}


def assert_secret_stays_inside(instance, *secrets):
    said = [json.dumps(instance.api("GET", path)) for path in (
        "/api/v1/filesystems", "/api/v1/kms", "/api/v1/events", "/api/v1/audit", "/api/v1/alerts")]
    said.append(instance.log.read_text())
    for secret in secrets:
        assert not any(secret in text for text in said)


@pytest.mark.parametrize("kms", ["openbao", "vaultcore"], indirect=True)
def test_the_whole_life_of_a_login_of_its_own(instance, kms, shared, team, tmp_path):
    first = team.secret_id
    refused = instance.run("fs", "add", "data", *[word for word in team.options()
                                                  if word not in ("--kms-role-id", team.role_id)],
                           check=False)
    assert refused.returncode == 1 and "may not use" in refused.stderr
    said = add(instance, "data", team).stdout
    assert f"the vault key {team.key}, version 1, which it asks for with its own role" in said
    instance.add("other")
    namespace = team.namespace or ""
    assert wrapped(instance) == (team.key, 1, namespace, team.role_id)
    mount_and_write(instance, tmp_path)
    restart(instance)
    assert_opens(instance, tmp_path)

    team.rotate_key()
    report = instance.api("POST", "/api/v1/kms/rewrap", {"all": True})
    assert report["failed"] == 0
    assert wrapped(instance) == (team.key, 2, namespace, team.role_id)
    assert_opens(instance, tmp_path)

    second = team.new_secret_id()
    instance.run("fs", "update", "data", "--kms-secret-id", "-", input=second)
    team.destroy(first)
    restart(instance)
    assert_opens(instance, tmp_path)

    team.make_key("another")
    instance.run("fs", "update", "data", "--kms-key-identifier", "another")
    assert wrapped(instance) == ("another", 1, namespace, team.role_id)
    restart(instance)
    assert_opens(instance, tmp_path)
    listed = instance.run("fs", "-o", "name,kmsKey,kmsNamespace,kmsRole", "--format", "csv",
                          "--no-header").stdout
    assert f"data,another,{namespace},{team.role_id}" in listed

    assert instance.run("security", "kms", "check", check=False).returncode == 0
    instance.run("fs", "update", "data", "--use-cluster-kms-key-identifier")
    assert wrapped(instance) == (shared, 1, "", "")
    assert second.encode() not in (instance.state / "credentials").read_bytes()
    assert_opens(instance, tmp_path)
    assert_secret_stays_inside(instance, first, second)


def test_a_secret_that_was_taken_back_is_told_and_another_one_mends_it(
        instance, kms, shared, team, tmp_path):
    add(instance, "data", team)
    mount_and_write(instance, tmp_path)
    instance.stop()
    team.destroy(team.secret_id)
    instance.start()
    instance.run("fs", "umount", "data")
    failed = instance.run("fs", "mount", "data", tmp_path / "data", check=False)
    assert failed.returncode == 1 and "refuses the login" in failed.stderr
    assert "data" in alerts(instance, "filesystem-kms-error")
    checked = instance.run("security", "kms", "check", check=False)
    assert checked.returncode == 6 or checked.returncode == 7
    assert f"role {team.role_id}" in checked.stdout + checked.stderr

    before = instance.view("data")
    refused = instance.run("fs", "update", "data", "--kms-secret-id", "no-such-id", check=False)
    assert refused.returncode == 1 and "nothing was changed" in refused.stderr
    assert "no-such-id" not in refused.stderr
    assert instance.view("data") == before
    instance.run("fs", "update", "data", "--kms-secret-id", "-", input=team.new_secret_id())
    assert_opens(instance, tmp_path)


def test_the_life_of_a_secret_id_is_shown_where_it_may_be_looked_up(instance, openbao):
    key = f"shared-{next(NUMBERS)}"
    openbao.create_key(key)
    policies = [f"coffer-{key}"]
    openbao.coffer_token(key)  # writes the policy

    def set_role():
        role_id, secret_id = openbao.approle(key, policies, secret_id_ttl="700h")
        return instance.api("PUT", "/api/v1/kms", {
            "type": "vault", "address": openbao.address, "key": key, "role_id": role_id,
            "secret_id": secret_id})

    assert "secret_id_seconds_left" not in set_role()
    openbao.api("PUT", f"sys/policies/acl/look-{key}", {"policy":
                f'path "auth/approle/role/{key}/secret-id/lookup" {{ capabilities = ["update"] }}'})
    policies.append(f"look-{key}")
    left = set_role()["secret_id_seconds_left"]
    assert 600 * 3600 < left <= 700 * 3600
    assert re.search(r"^Secret ID   : \d+ d \d+ h left$", instance.run("security", "kms").stdout, re.M)


def test_filesystems_of_a_role_have_one_login_and_one_secret(instance, kms, shared, team, tmp_path):
    other = Team(kms, team.namespace)
    for name in ("data", "more"):
        add(instance, name, team)
    add(instance, "other", other)
    old = team.secret_id
    instance.run("fs", "update", "more", "--kms-secret-id", "-", input=team.new_secret_id())
    team.destroy(old)
    for name in ("data", "more", "other"):
        mount_and_write(instance, tmp_path, name)
    credentials = instance.state / "credentials"
    instance.run("fs", "umount", "data")
    instance.run("fs", "remove", "data", "-f")
    assert team.secret_id.encode() in credentials.read_bytes()
    instance.run("fs", "umount", "more")
    instance.run("fs", "remove", "more", "-f")
    stored = credentials.read_bytes()
    assert team.secret_id.encode() not in stored and other.secret_id.encode() in stored
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert_opens(instance, tmp_path, "other")


def test_conversions_and_what_ends_it(instance, kms, shared, team, tmp_path):
    for name in ("data", "more"):
        add(instance, name, team)
        mount_and_write(instance, tmp_path, name)
    instance.add("shared")
    planned = instance.run("security", "kms", "rewrap", "--convert-to-cluster-key-on-fs",
                           "--dry-run", "-J")
    rows = {row["name"]: (row["result"], row["new_key"])
            for row in json.loads(planned.stdout)["filesystems"]}
    assert rows == {"data": ("planned", shared), "more": ("planned", shared),
                    "shared": ("unchanged", shared)}
    assert wrapped(instance)[0] == team.key
    instance.run("security", "kms", "rewrap", "--convert-to-cluster-key-on-fs", "-f")
    assert wrapped(instance) == (shared, 1, "", "")
    assert_opens(instance, tmp_path, "data", "more")

    instance.run("fs", "update", "data", *team.options(), "--kms-secret-id", "-",
                 input=team.secret_id)
    fresh = f"fresh-{next(NUMBERS)}"
    kms.create_key(fresh)
    set_kms(instance, kms, shared)  # another token; its own login stays
    assert wrapped(instance)[0] == team.key
    assert_opens(instance, tmp_path)
    token = kms.token({f"transit/{what}/{key}": [right] for key in (shared, fresh)
                       for what, right in (("keys", "read"), ("encrypt", "update"),
                                           ("decrypt", "update"), ("rewrap", "update"))})
    instance.run("security", "kms", "set", "vault", kms.address, fresh,
                 "--convert-to-cluster-key-on-fs", "-", input=token)
    assert wrapped(instance) == (fresh, 1, "", "")
    assert_opens(instance, tmp_path, "data", "more")

    instance.run("fs", "update", "data", *team.options(), "--kms-secret-id", "-",
                 input=team.secret_id)
    instance.run("security", "kms", "unset", "--allow-downgrade", "-f")
    assert instance.view("data")["kms_type"] == "local" and wrapped(instance)[3] == ""
    assert_opens(instance, tmp_path)


def test_another_kms_takes_no_filesystem_from_its_login(instance, kms, shared, team, pykmip,
                                                        tmp_path):
    add(instance, "data", team)
    mount_and_write(instance, tmp_path)
    uid = pykmip.admin().create()
    with pytest.raises(ApiError) as refused:
        instance.set_kmip(pykmip, uid)
    assert "--convert-to-cluster-key-on-fs" in str(refused.value)
    assert_opens(instance, tmp_path)
    cert, key = pykmip.client()
    instance.run("security", "kms", "set", "kmip", pykmip.address, uid, "--client-cert", cert,
                 "--client-key", key, "--ca-cert", pykmip.ca_cert, "--convert-to-cluster-key-on-fs")
    assert instance.view("data")["kms_type"] == "kmip"
    assert_opens(instance, tmp_path)
    refused = instance.run("fs", "update", "data", *team.options(), "--kms-secret-id", "x",
                           check=False)
    assert refused.returncode == 1 and "only a vault has" in refused.stderr


def test_wekas_names_and_the_environment(instance, kms, shared, team, tmp_path):
    words = ["fs", "add", "data", *team.options()]
    instance.environment.update(COFFER_KMS_SECRET_ID="other", WEKA_KMS_SECRET_ID=team.secret_id)
    refused = instance.run(*words, check=False)
    assert refused.returncode == 1 and "set to different values" in refused.stderr
    assert team.secret_id not in refused.stderr
    del instance.environment["COFFER_KMS_SECRET_ID"]
    instance.run(*words)
    instance.run("fs", "update", "data", *team.options())
    del instance.environment["WEKA_KMS_SECRET_ID"]
    path = tmp_path / "secret-id"
    path.write_text(team.new_secret_id() + "\n")
    instance.run("fs", "update", "data", "--kms-secret-id-file", path)
    for wrong in (["--kms-secret-id", "a", "--kms-secret-id-file", path],
                  ["--kms-role-id", team.role_id], ["--kms-role-id", ""]):
        assert instance.run("fs", "update", "data", *wrong, check=False).returncode == 1
    for options in (["--kms-role-id", team.role_id, "--kms-secret-id", "x"],
                    ["--kms-secret-id", "x"], ["--kms-namespace", "crew"]):
        refused = instance.run("fs", "add", "new", *options, check=False)
        assert refused.returncode == 1 and "--kms-key-identifier" in refused.stderr
    assert wrapped(instance)[3] == team.role_id


def test_cofferd_killed_in_the_middle_of_changes(instance, openbao, tmp_path):
    key = f"shared-{next(NUMBERS)}"
    openbao.create_key(key)
    set_kms(instance, openbao, key)
    teams = [Team(openbao, "crew"), Team(openbao, "crew"), Team(openbao)]
    names = ["data", "more"]
    for name in names:
        add(instance, name, teams[0])
        mount_and_write(instance, tmp_path, name)

    def update(team):
        instance.api("PATCH", "/api/v1/filesystems/data", {
            "kms_key": team.key, "kms_namespace": team.namespace or "",
            "kms_role_id": team.role_id, "kms_secret_id": team.secret_id})

    acts = [lambda: update(teams[1]), lambda: update(teams[2]),
            lambda: instance.api("POST", "/api/v1/kms/rewrap", {"convert_to_cluster_key": True}),
            lambda: update(teams[0]),
            lambda: set_kms(instance, openbao, key, convert_to_cluster_key=True),
            lambda: update(teams[1])]
    for turn, act in enumerate(acts):
        kill_during(instance, act, 0.01 + 0.02 * (turn % 4))
        assert_opens(instance, tmp_path, *names)
        act()
        assert_opens(instance, tmp_path, *names)
    assert wrapped(instance)[0] == teams[1].key and wrapped(instance, "more")[0] == key


# Namespaces without a login of their own


def test_a_key_in_another_namespace_by_the_login_of_the_instance(instance, openbao, tmp_path):
    shared, inner = (f"key-{next(NUMBERS)}" for _ in range(2))
    openbao.create_key(shared)
    team = Team(openbao, "crew")
    team.make_key(inner)
    rules = {f"{place}/{what}/{key}": [right]
             for place, key in (("transit", shared), ("crew/transit", team.key),
                                ("crew/transit", inner))
             for what, right in (("keys", "read"), ("encrypt", "update"), ("decrypt", "update"),
                                 ("rewrap", "update"))}
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": shared, "token": openbao.token(rules)})
    instance.run("fs", "add", "data", "--kms-key-identifier", team.key, "--kms-namespace", "crew")
    assert wrapped(instance) == (team.key, 1, "crew", "")
    mount_and_write(instance, tmp_path)
    restart(instance)
    assert_opens(instance, tmp_path)
    team.rotate_key()
    instance.run("fs", "kms-rewrap", "data")
    assert wrapped(instance) == (team.key, 2, "crew", "")
    instance.run("fs", "update", "data", "--kms-key-identifier", inner)
    assert wrapped(instance) == (inner, 1, "crew", "")
    restart(instance)
    assert_opens(instance, tmp_path)
    refused = instance.run("fs", "update", "data", "--kms-namespace", "", check=False)
    assert refused.returncode == 1 and wrapped(instance) == (inner, 1, "crew", "")
    instance.run("fs", "update", "data", "--kms-namespace", "", "--kms-key-identifier", shared)
    assert wrapped(instance) == (shared, 1, "", "")
    instance.run("fs", "update", "data", "--kms-namespace", "crew/", "--kms-key-identifier", inner)
    assert_opens(instance, tmp_path)
    assert instance.run("security", "kms", "check", check=False).returncode == 0
