"""A search for secrets: of anything that was added, every piece of 16 bytes or more is found at any
place in any bytes, also as hexadecimal digits and in base64.

It looks for windows of 8 bytes at every eighth byte of a secret, of which a piece of 15 bytes has a
whole one wherever it begins; what is found then has to be as long as said.
"""
import base64

WINDOW = 8
ENOUGH = 16


def _numbers(data, shift):
    count = (len(data) - shift) // WINDOW
    return memoryview(data)[shift:shift + count * WINDOW].cast("Q") if count > 0 else ()


def _common(a, a_at, b, b_at):
    """How long the common piece of both is that has the window at these places."""
    start = 0
    while a_at - start > 0 and b_at - start > 0 and a[a_at - start - 1] == b[b_at - start - 1]:
        start += 1
    end = WINDOW
    while a_at + end < len(a) and b_at + end < len(b) and a[a_at + end] == b[b_at + end]:
        end += 1
    return start + end


class Needles:
    def __init__(self):
        self.windows = {}  # number: (name, secret, where in it)
        self.numbers = set()  # its keys: a set goes through what it is compared with one by one

    def add(self, name, secret):
        """As it is."""
        assert len(secret) >= ENOUGH, f"{name} is too short to be told from chance"
        for at in range(0, len(secret) - WINDOW + 1, WINDOW):
            window = int.from_bytes(secret[at:at + WINDOW], "little")
            self.windows[window] = (name, secret, at)
            self.numbers.add(window)

    def add_key(self, name, key):
        """And as text, however it lies in longer base64."""
        self.add(name, key)
        for text in (key.hex(), key.hex().upper()):
            self.add(f"{name} in hex", text.encode())
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for shift in range(3):
                # Without the characters that depend on the neighbours.
                text = encode(bytes(shift) + key)[4 if shift else 0:-4]
                self.add(f"{name} in base64", text)

    def find(self, data):
        """The names of all that is in it."""
        found = set()
        for shift in range(WINDOW):
            for number in self.numbers.intersection(_numbers(data, shift)):
                found |= self._confirm(data, number)
        return found

    def _confirm(self, data, number):
        name, secret, where = self.windows[number]
        window = number.to_bytes(WINDOW, "little")
        at = data.find(window)
        while at >= 0:
            if _common(data, at, secret, where) >= ENOUGH:
                return {name}
            at = data.find(window, at + 1)
        return set()
