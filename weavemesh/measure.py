"""Figures for people: durations, sizes and round-trip times in the unit that fits, and text made safe to print.

Not for machines: `--json` gives plain numbers.
"""

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """The two largest units of a time span; anything below a second is "0 s".

    >>> duration(7.9), duration(132), duration(7200), duration(90061)
    ('7 s', '2 min 12 s', '2 h', '1 d 1 h')
    """
    rest = max(0, int(seconds))
    for index, (unit, size) in enumerate(_UNITS):
        if rest < size:
            continue
        text = f"{rest // size} {unit}"
        if index + 1 == len(_UNITS):
            return text
        small_unit, small_size = _UNITS[index + 1]
        small = rest % size // small_size
        return f"{text} {small} {small_unit}" if small else text
    return "0 s"


def size(octets: int) -> str:
    """Octets with a binary prefix, three figures.

    >>> size(999), size(1536), size(5 * 1024**3)
    ('999 B', '1.5 KiB', '5.0 GiB')
    """
    if octets < 1024:
        return f"{octets} B"
    value, unit = octets / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 999.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def round_trip(milliseconds: float) -> str:
    """A round-trip time, three figures.

    >>> round_trip(0.424), round_trip(12.34), round_trip(250.4)
    ('0.42 ms', '12.3 ms', '250 ms')
    """
    digits = 2 if milliseconds < 9.995 else 1 if milliseconds < 99.95 else 0
    return f"{milliseconds:.{digits}f} ms"


def printable(text: str) -> str:
    r"""The text with everything a terminal could obey replaced by its escape: other peers choose their own nicknames.

    >>> printable("n1\x1b[2J\n")
    'n1\\x1b[2J\\n'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
