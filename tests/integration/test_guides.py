"""The guides in docs/: each command that stands in them is run as it stands, against real servers
under the names that the guides use. A block that is marked sh is run; the word behind it says
when."""
import base64
import http.server
import json
import os
import pathlib
import re
import ssl
import subprocess
import threading

import pytest

import private_host
import servers
from certificates import Authority
from instance import Instance, wait_until
from key_servers import started
from shell import Shell

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ["vault.example.org", "kmip.example.org", "kubernetes.default.svc"]
needs_host = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


def script(page, kind="", **values):
    """The blocks of this kind, in their order; values take the place of <value>."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(rf"^```{f'sh {kind}'.strip()}\n(.*?)^```$", text, re.M | re.S)
    assert blocks, f"{page} has no block of {kind}"
    text = "\n".join(blocks)
    for name, value in values.items():
        text = text.replace(f"<{name.replace('_', '-')}>", value)
    return text


@pytest.fixture
def authority(folder):
    return Authority(folder / "authority", server_names=NAMES)


@pytest.fixture
def host(folder, authority):
    servers.install_programs()
    try:
        with private_host.private_host(folder, NAMES, authority.cert):
            yield
    except private_host.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def instance(build_folder, folder, host):
    with Instance(build_folder, folder) as made:
        yield made


@pytest.fixture
def shell(instance, folder):
    return Shell(instance, folder, VAULT_ADDR="https://vault.example.org:8200")


@pytest.fixture
def openbao(host, folder, authority, shell):
    bao = started(lambda: servers.OpenBaoServer(folder / "bao", mode="raft").at(8200, authority))
    with bao:
        shell.environment["VAULT_TOKEN"] = bao.root_token
        yield bao


@pytest.fixture
def vault_core(host, folder, authority, shell):
    with started(lambda: servers.VaultCoreServer(folder / "vault").at(8200, authority)) as vault:
        shell.environment["VAULT_TOKEN"] = vault.root_token
        yield vault


@pytest.fixture
def pykmip(host, folder, authority, shell):
    kms = started(lambda: servers.PykmipServer(folder / "kmip").at(5696, authority))
    with kms:
        (shell.folder / "ca.pem").write_text(authority.cert.read_text())
        (shell.folder / "ca.key").write_text(authority.key.read_text())
        yield kms


def assert_well(checked):
    """That kms check found nothing to warn of."""
    assert not re.search("^ +(failed|warning) ", checked, re.M), checked
    assert re.search("^ +ok +filesystems ", checked, re.M), checked


# ------------------------------------------------------------------ Vault


@needs_host
@pytest.mark.parametrize("kind", ["vault_core", "openbao"])
def test_the_page_about_vault_works_as_it_stands(kind, request, shell, instance):
    vault = request.getfixturevalue(kind)
    assert_well(shell(script("kms-vault.md")))
    assert not (shell.folder / "token").exists() and not (shell.folder / "secret-id").exists()
    shell("coffer fs add data")
    # As the page says: a period above max_lease_ttl is cut, and not when that is raised before.
    made = [json.loads(shell("vault token create -role=coffer -format=json"))]
    vault.api("POST", "sys/auth/token/tune", {"max_lease_ttl": "768h"})
    made.append(json.loads(shell("vault token create -role=coffer -format=json")))
    assert [token["auth"]["lease_duration"] // 3600 for token in made] == [2160, 768]


@needs_host
def test_a_token_of_the_page_outlives_the_login_that_made_it(shell, vault_core):
    def made_by_another_login():
        login = vault_core.api("POST", "auth/token/create", {})["auth"]["client_token"]
        made = vault_core.api("POST", "auth/token/create/coffer", {}, token=login)
        vault_core.revoke_token(login)
        return made["auth"]["client_token"]
    shell(script("kms-vault.md"))
    command = "coffer security kms set vault https://vault.example.org:8200 coffer-key --token "
    shell(command + made_by_another_login())
    vault_core.api("POST", "auth/token/roles/coffer", {"orphan": False})
    assert "does not accept the token" in shell.fails(command + made_by_another_login())


class KubernetesApi(http.server.BaseHTTPRequestHandler):
    """Finds that each token is the service account's."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        text = json.dumps({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "status": {"authenticated": True,
                       "user": {"username": "system:serviceaccount:storage:coffer", "uid": "u-1",
                                "groups": ["system:serviceaccounts"]}}}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def service_account_token():
    claims = {"iss": "https://kubernetes.default.svc", "iat": 1, "nbf": 1, "exp": 4102444800,
              "sub": "system:serviceaccount:storage:coffer",
              "kubernetes.io": {"namespace": "storage",
                                "serviceaccount": {"name": "coffer", "uid": "u-1"}}}
    parts = [json.dumps({"alg": "RS256"}).encode(), json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.fixture
def pod(host, authority, shell):
    """This host is in a pod: the service account's token, and the Kubernetes API."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run"], check=True)
    account = pathlib.Path("/run/secrets/kubernetes.io/serviceaccount")
    account.mkdir(parents=True)
    (account / "token").write_text(service_account_token())
    (shell.folder / "ca.crt").write_text(authority.cert.read_text())
    api = http.server.ThreadingHTTPServer(("127.0.0.1", 443), KubernetesApi)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server())
    api.socket = context.wrap_socket(api.socket, server_side=True)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    yield
    api.shutdown()
    api.server_close()


@needs_host
def test_the_pages_login_from_kubernetes_works_as_it_stands(shell, openbao, pod):
    shell(script("kms-vault.md") + script("kms-vault.md", "kubernetes"))
    assert re.search("^Auth method +: Kubernetes$", shell("coffer security kms"), re.M)
    assert_well(shell("coffer security kms check"))


@needs_host
def test_a_login_for_one_filesystem_works_as_it_stands(shell, instance, openbao):
    shell(script("kms-vault.md") + script("kms-vault.md", "secret-id-life") +
          script("kms-vault.md", "fs-login"))
    view = instance.view("payroll")
    assert (view["kms_key"], view["kms_namespace"]) == ("payroll-key", "hr") and view["kms_role"]
    assert_well(shell("coffer security kms check"))


# ------------------------------------------------------------------ KMIP


@needs_host
def test_the_page_about_kmip_works_as_it_stands(shell, pykmip):
    page = script("kms-kmip.md", identity="storage", key_uid="1")
    certificate, coffer = page.split("coffer security kms set", 1)
    shell(certificate)
    owner = servers.KmipAdmin("127.0.0.1", 5696, pykmip.ca_cert, shell.folder / "client-cert.pem",
                              shell.folder / "client-key.pem")
    assert owner.create() == "1"
    assert_well(shell("coffer security kms set" + coffer))


# ------------------------------------------------------------------ rotation, recovery


@needs_host
def test_rotation_in_vault_works_as_it_stands(shell, instance, vault_core):
    shell(script("kms-vault.md") + "coffer fs add data\n")
    said = shell(script("master-keys.md", "vault"))
    assert instance.view("data")["kms_key_version"] == 2
    assert re.search("^data +coffer-key +2$", said, re.M), said


@needs_host
def test_a_key_of_its_own_takes_the_place_of_a_shared_one(shell, instance, vault_core):
    shell(script("kms-vault.md") + "coffer fs add data\n")
    shell(script("master-keys.md", "own-key"))
    assert instance.view("data")["kms_key"] == "coffer-host1"
    vault_core.delete_key("coffer-key")
    assert_well(shell("coffer security kms check"))


@needs_host
def test_rotation_with_kmip_works_as_it_stands(shell, instance, pykmip):
    old, new = pykmip.admin().create(), pykmip.admin().create()
    instance.set_kmip(pykmip, old)
    shell("coffer fs add data")
    assert re.search(f"^Key UID +: {new}$",
                     shell(script("master-keys.md", "kmip", new_uid=new)), re.M)
    assert instance.view("data")["kms_key"] == new


@needs_host
def test_a_lost_openbao_comes_back_as_the_page_says(shell, instance, openbao, folder, authority,
                                                    tmp_path):
    shell(script("kms-vault.md") + "coffer fs add data\n")
    (instance.mount("data", tmp_path / "mount") / "file").write_text("content")
    shell("coffer fs umount data")
    shell(script("kms-availability.md", "save"))
    unseal_key = openbao.unseal_key
    openbao.kill()

    restored = servers.OpenBaoServer(folder / "new", mode="raft").at(8200, authority)
    with restored:
        shell.environment["VAULT_TOKEN"] = restored.root_token
        shell(script("kms-availability.md", "restore"))
        shell(f"for try in $(seq 300); do vault operator unseal {unseal_key} && break; sleep 0.1; "
              "done")
        restored.root_token = shell.environment["VAULT_TOKEN"] = openbao.root_token
        restored.wait_active()
        shell("vault token create -role=coffer -field=token > token")
        assert_well(shell(script("kms-availability.md", "after")))
        assert (instance.mount("data", tmp_path / "mount") / "file").read_text() == "content"


# ------------------------------------------------------------------ a host that is lost


class Host:
    """Another host: an instance, and a shell on it."""

    def __init__(self, build_folder, folder, openbao):
        folder.mkdir()
        self.instance = Instance(build_folder, folder)
        self.shell = Shell(self.instance, folder, VAULT_ADDR="https://vault.example.org:8200",
                           VAULT_TOKEN=openbao.root_token)


@needs_host
def test_a_lost_host_comes_back_as_the_page_says(build_folder, folder, openbao, tmp_path):
    page, bucket = "disaster-recovery.md", tmp_path / "bucket"
    bucket.mkdir()
    upload, verify = script(page, "before").split("coffer fs snapshot verify")
    lost = Host(build_folder, folder / "lost", openbao)
    with lost.instance:
        lost.shell(script("kms-vault.md") + "coffer fs add projects\n")
        (lost.instance.mount("projects", tmp_path / "mount") / "file").write_text("content")
        said = lost.shell(script(page, "folder", folder=str(bucket)) + upload)
        locator = next(word for word in said.split() if word.startswith("coffer1-"))
        lost.shell("coffer fs snapshot verify" + verify.replace("<locator>", locator))
    (folder / "lost").rename(folder / "away")

    other = Host(build_folder, folder / "other", openbao)
    with other.instance:
        other.shell(script(page, "folder", folder=str(bucket)))
        listed = other.shell(script(page, "look"))
        assert locator in listed and "coffer-key" in listed
        other.shell("vault token create -role=coffer -field=token > token")
        other.shell(script(page, "kms") +
                    script(page, "back", locator=locator, dir=str(tmp_path / "mount-2")))
        assert (tmp_path / "mount-2" / "file").read_text() == "content"
        (tmp_path / "mount-2" / "file").write_text("written there")
        wait_until(lambda: '"downloaded"' in other.shell("coffer events -J"), "all is there")
        said = other.shell(script(page, "there"))
        locator = next(word for word in said.split() if word.startswith("coffer1-"))

    (folder / "away").rename(folder / "lost")
    with lost.instance:
        lost.instance.mount("projects", tmp_path / "mount")
        lost.shell(script(page, "home", locator=locator, dir=str(tmp_path / "mount")))
        assert (tmp_path / "mount" / "file").read_text() == "written there"


# ------------------------------------------------------------------ all pages


def commands_of(page):
    """Each command line of coffer in blocks and between ` and `."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line for block in re.findall(r"^```[^\n]*\n(.*?)^```$", text, re.M | re.S)
             for line in block.splitlines()]
    spans = re.findall(r"`(coffer [^`\n]*)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    for line in [*lines, *spans]:
        found = re.match(r"(?:[A-Z_]+=\S+ )*(coffer [a-z][^#|>&;]*)", line.strip())
        if found:
            yield found.group(1).split()[1:]


def help_of(build_folder, words):
    done = subprocess.run([build_folder / "src" / "programs" / "coffer", *words, "--help"],
                          capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def takes_arguments(text):
    return re.search("<(?!command>)", text.splitlines()[0]) is not None


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))],
                         ids=lambda page: page.name)
def test_each_command_of_a_page_is_there_with_its_options(page, build_folder):
    helps = {}
    for words in commands_of(page):
        path, text = (), ""
        for word in words:
            longer = (*path, word)
            if longer not in helps:
                helps[longer] = help_of(build_folder, longer) if word[0].isalpha() else None
            if helps[longer] is None:
                break
            path, text = longer, helps[longer]
            if takes_arguments(text):
                break
        has_rest = len(words) > len(path) and words[len(path)][0] != "-"
        assert path and (takes_arguments(text) or not has_rest), \
            f"{page.name}: there is no command: coffer {' '.join(words)}"
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+|-[a-zA-Z])\b", " ".join(words)):
            assert re.search(rf"{option}\b", text), \
                f"{page.name}: coffer {' '.join(path)} has no {option}"


def headings(page):
    return {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in page.read_text().splitlines() if line.startswith("#")}


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match("[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link
