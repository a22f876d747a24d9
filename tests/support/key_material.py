"""What a filesystem's key server can open, and all keys that follow from it, as docs/formats/ says:
written from those pages and not from coffer's sources. For tests that look for keys where none may
be."""
import base64
import hashlib
import hmac
import re
import struct
import uuid as uuids

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CBC, GCM = 1, 2


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        piece = self.data[self.at:self.at + count]
        assert len(piece) == count, "cut short"
        self.at += count
        return piece

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def text(self):
        return self.take(self.number(2))

    def short(self):
        return self.take(self.number(1))


def _read_wrapping(reader):
    reader.take(8)
    names = ("provider", "addresses", "namespace", "path", "key")
    wrapping = {name: reader.text().decode() for name in names}
    wrapping.update(version=reader.number(4), mode=reader.number(1), iv=reader.short(),
                    tag=reader.short(), wrapped=reader.text())
    return wrapping


def read_ring(data):
    """[(generation, wrapping)] of its own generations (docs/formats/key-ring.md)."""
    reader = Reader(data)
    assert reader.take(8) == b"COFFERKR" and reader.number(4) == 1
    reader.take(16 + 8)
    found = []
    for _ in range(reader.number(4)):
        generation = reader.number(4)
        reader.take(16 + 1)
        flags = reader.number(1)
        reader.take(8 + 32)
        if flags & 1:
            reader.take(92)
        found.append((generation, _read_wrapping(reader)))
        if flags & 2:
            _read_wrapping(reader)
    return found


def unwrap_kmip(admin, wrapping):
    assert wrapping["mode"] == CBC
    return admin.decrypt_cbc(wrapping["key"], wrapping["wrapped"], wrapping["iv"])


def unwrap_vault(server, wrapping):
    answer = server.api("POST", f"{wrapping['path']}/decrypt/{wrapping['key']}",
                        {"ciphertext": wrapping["wrapped"].decode()})
    return base64.b64decode(answer["data"]["plaintext"])


def open_blob(blob, uuid, generation):
    """The filesystem key (docs/formats/keys.md, "What a key server wraps")."""
    assert len(blob) == 76 and blob[:8] == b"COFKEY\0\1"
    assert blob[8:28] == uuid.bytes + struct.pack("<I", generation)
    assert blob[60:] == hashlib.sha256(blob[:60]).digest()[:16]
    return blob[28:60]


def derive(key, label, context=b""):
    """HKDF-SHA-256 with an empty salt, 32 bytes."""
    pseudorandom = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(pseudorandom, label.encode() + b"\0" + context + b"\1", "sha256")


def open_names(fs_key, superblock, uuid):
    """Name key and chunk key, from the superblock."""
    sealed = superblock[85:177]
    aad = uuid.bytes + superblock[28:32]
    plain = AESGCM(derive(fs_key, "coffer superblock")).decrypt(sealed[:12], sealed[12:], aad)
    return plain[:32], plain[32:]


def find_incarnations(metadata_key, database):
    """The ids whose INCARNATION records, with the right MAC, are in these bytes of a database."""
    mac_key = derive(metadata_key, "coffer incarnation mac")
    record = re.compile(rb"(?=(\x00\x02(.{16})(\x01.{12})(.{32})))", re.DOTALL)
    return {found[2] for found in record.finditer(database)
            if hmac.digest(mac_key, found[1][:18] + found[3], "sha256") == found[4]}


def opens_first_block(key, superblock, segment):
    """Whether the key is that of the segment's first block, if that is a whole one
    (docs/formats/segment.md)."""
    block_size = int.from_bytes(superblock[32:36], "little")
    header, block = segment[:64], segment[64:64 + 28 + block_size]
    assert header[:12] == b"COFFSEG\0\1\0\0\0"
    identity = header[16:32] + header[12:16] + header[32:48] + struct.pack("<Q", 64)
    try:
        AESGCM(key).decrypt(block[:12], block[12:], identity)
    except InvalidTag:
        return False
    return True


def all_keys(fs_key, store, metadata):
    """{name: 32 bytes}: the key, and every key that follows from it in this store's folder and
    with this folder of metadata."""
    superblock = (store / "superblock").read_bytes()
    assert superblock[:8] == b"COFFERSB"
    uuid = uuids.UUID(bytes=superblock[12:28])
    keys = {"filesystem key": fs_key}
    for label in ("superblock", "superblock mac", "ring", "ring names", "check value", "metadata",
                  "data"):
        keys[label] = derive(fs_key, f"coffer {label}")
    keys["name key"], keys["chunk key"] = open_names(fs_key, superblock, uuid)
    keys["set"] = derive(keys["name key"], "coffer set")
    keys["incarnation mac"] = derive(keys["metadata"], "coffer incarnation mac")
    for found in find_incarnations(keys["metadata"], (metadata / "metadata.mdb").read_bytes()):
        keys[f"incarnation {found.hex()}"] = derive(keys["metadata"], "coffer incarnation", found)
    for segment in (store / "segments").iterdir():
        keys[f"segment {segment.name}"] = derive(keys["data"], "coffer segment",
                                                 uuids.UUID(segment.name).bytes)
    return keys
