"""Functions over text as Spark computes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, each, kernel
from proa.engine.parity.kernels_casts import texts
from proa.lazy import compute as pc


def _matching(function: Callable[..., Any], name: str) -> None:
    def run(type_: Any, *arrays: Array) -> Array:
        return each(function, type_, *arrays)

    run.__name__ = name
    kernel(run)


def _initcap(value: str) -> str:
    if value.isascii():
        return " ".join([word.capitalize() for word in value.split(" ")])
    return re.sub(r"[^ ]+", lambda m: m.group()[0].title() + m.group()[1:].lower(), value.lower())


_matching(_initcap, "initcap")


_FORMAT = re.compile(r"%(?:(\d+)\$)?([-#+ 0,(]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


@kernel
def format_string(type_: Any, pattern: Array, *arrays: Array) -> Array:
    """Printf of Java, for the conversions whose answers are the same everywhere."""
    columns = [
        (texts(a) if not pa.types.is_integer(a.type) and not pa.types.is_decimal(a.type)
         and not pa.types.is_floating(a.type) else a.to_pylist())
        for a in arrays
    ]  # fmt: skip
    shown = [
        [None if v is None else str(v) for v in a.to_pylist()]
        if pa.types.is_decimal(a.type)
        else texts(a)
        for a in arrays
    ]
    kinds = [a.type for a in arrays]
    answers: list[Any] = []
    for row, text in enumerate(pattern.to_pylist()):
        if text is None:
            answers.append(None)
            continue
        answers.append(_format(text, [c[row] for c in columns], [s[row] for s in shown], kinds))
    return pa.array(answers, type_)


def _format(text: str, values: list[Any], shown: list[str | None], kinds: list[Any]) -> str:
    next_one = iter(range(len(values)))

    def put(match: re.Match[str]) -> str:
        place, flags, width, precision, code = match.groups()
        if code == "%":
            return "%"
        if code == "n":
            return "\n"
        k = int(place) - 1 if place else next(next_one, len(values))
        if k >= len(values):
            raise SparkError("MISSING_FORMAT_ARGUMENT", match.group())
        return _field(values[k], shown[k], kinds[k], flags, int(width or 0), precision, code)

    return _FORMAT.sub(put, text)


def _field(  # noqa: PLR0913, PLR0917 - the parts of a conversion
    value: Any,
    shown: str | None,
    kind: Any,
    flags: str,
    width: int,
    precision: str | None,
    code: str,
) -> str:
    whole = pa.types.is_integer(kind)
    if value is None:
        body = "null"[: int(precision)] if precision else "null"
        body = body.upper() if code.isupper() else body
        flags = flags.replace("0", "")
    elif code in "sS":
        body = str(shown)
        body = body[: int(precision)] if precision else body
        body = body.upper() if code == "S" else body
    elif code == "d" and whole:
        body = f"{abs(value):,}" if "," in flags else str(abs(value))
        body = _with_sign(body, value < 0, flags, width)
    elif code in "xXo" and whole:
        bits = kind.bit_width
        body = format(value % (1 << bits), code)
    elif code in "fe" and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        body = _decimal_field(value, flags, width, int(precision) if precision else 6, code)
    elif code in "bB":
        body = str(shown) if pa.types.is_boolean(kind) else "true"
    elif code == "c" and whole and kind.bit_width <= 32:
        if not 0 <= value <= 0x10FFFF:
            raise SparkError("ILLEGAL_FORMAT", f"%c of {value}")
        body = chr(value)
    else:
        raise SparkError("ILLEGAL_FORMAT", f"%{code} over {kind}")
    width -= len(body.encode("utf-16-le", "surrogatepass")) // 2 - len(body)  # Java counts halves
    return body.ljust(width) if "-" in flags else body.rjust(width)


def _with_sign(body: str, negative: bool, flags: str, width: int) -> str:  # noqa: FBT001 - a sign
    sign = "-" if negative else "+" if "+" in flags else " " if " " in flags else ""
    end = ""
    if negative and "(" in flags:
        sign, end = "(", ")"
    if "0" in flags and "-" not in flags:
        body = body.rjust(width - len(sign) - len(end), "0")
    return sign + body + end


def _decimal_field(value: Any, flags: str, width: int, precision: int, code: str) -> str:
    from decimal import ROUND_HALF_UP, Context

    from proa.engine.parity.kernels_casts import double_text

    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124
        text = "NaN" if value != value else "Infinity"  # noqa: PLR0124
        plain = flags.replace("0", "")
        return _with_sign(
            text, value < 0, plain.replace("+", "") if text == "NaN" else plain, width
        )
    exact = Decimal(double_text(value)) if isinstance(value, float) else value
    negative = exact.is_signed()
    if code == "e":
        if not exact:
            body = f"{0:.{precision}f}e+00"
        else:
            power = exact.adjusted()
            cut = (
                abs(exact)
                .scaleb(-power)
                .quantize(Decimal(1).scaleb(-precision), ROUND_HALF_UP, Context(prec=400))
            )
            if cut >= 10:
                cut, power = (cut / 10).quantize(Decimal(1).scaleb(-precision)), power + 1
            body = f"{cut:f}e{'-' if power < 0 else '+'}{abs(power):02d}"
    else:
        cut = abs(exact).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_UP, Context(prec=800))
        body = f"{cut:,f}" if "," in flags else f"{cut:f}"
    return _with_sign(body, negative, flags, width)


def _substring(value: Any, position: int, length: int) -> Any:
    start = position - 1 if position > 0 else len(value) + position if position < 0 else 0
    end = start + length
    return value[max(0, start) : max(0, end)] if end > start else value[:0]


_matching(_substring, "substring")
_matching(_substring, "binary_substring")
_matching(lambda v, n: v[:n] if n > 0 else b"", "binary_left")
_matching(lambda v: v[::-1], "binary_reversed")
_matching(lambda v, n: v[:n] if n > 0 else "", "left")
_matching(lambda v, n: v[-n:] if n > 0 else "", "right")


@kernel
def format_number(type_: Any, array: Array, places: Array) -> Array:
    from decimal import ROUND_HALF_EVEN, Context

    from proa.engine.parity.kernels_casts import double_text

    def one(value: Any, digits: int) -> str | None:
        if digits < 0:
            return None
        if isinstance(value, float):
            if value != value or abs(value) == float("inf"):  # noqa: PLR0124
                return "NaN" if value != value else "∞" if value > 0 else "-∞"  # noqa: PLR0124
            value = Decimal(double_text(value))
        cut = Decimal(value).quantize(
            Decimal(1).scaleb(-digits), ROUND_HALF_EVEN, Context(prec=800)
        )
        return f"{cut:,f}"

    return each(one, type_, array, places)


_matching(lambda n: "" if n < 0 else chr(n & 255), "char")


def _encoded(value: str, codec: str) -> bytes:
    try:
        if codec == "utf-16":  # Java puts the mark before, and only before something
            return b"\xfe\xff" + value.encode("utf-16-be") if value else b""
        return value.encode(codec)
    except UnicodeEncodeError as error:
        raise SparkError(
            "MALFORMED_CHARACTER_CODING", f"{value!r} has characters that {codec} lacks"
        ) from error


_matching(_encoded, "encode")

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_UNSIGNED = 1 << 64


def converted(text: str, source: int, target: int) -> str | None:
    """A whole number of one base in another, as conv() does it: 64 bits, unsigned unless the base is negative."""
    if not (2 <= source <= 36 and 2 <= abs(target) <= 36):
        return None
    stripped = text.strip(" ")
    if not stripped:
        return None
    negative = stripped[0] == "-"
    number = 0
    for sign in stripped[negative:].lower():
        digit = _DIGITS.find(sign)
        if not 0 <= digit < source:
            break
        number = number * source + digit
    if number >= _UNSIGNED:
        raise SparkError("ARITHMETIC_OVERFLOW", f"{text!r} has more than 64 bits")
    if negative and target > 0:
        number = _UNSIGNED - 1 if number >= _UNSIGNED >> 1 else -number % _UNSIGNED
    minus = ""
    if target < 0:
        if negative:
            number = -number % _UNSIGNED
        if number >= _UNSIGNED >> 1:
            number, minus = _UNSIGNED - number, "-"
    digits = ""
    while number:
        number, digit = divmod(number, abs(target))
        digits = _DIGITS[digit] + digits
    return minus + (digits.upper() or "0")


_matching(converted, "conv")


@kernel
def elt(type_: Any, index: Array, *choices: Array) -> Array:
    """The text of a number from 1; an error where there is none."""
    answers: list[str | None] = []
    columns = [choice.to_pylist() for choice in choices]
    for row, number in enumerate(index.to_pylist()):
        if number is not None and not 1 <= number <= len(columns):
            raise SparkError("INVALID_ARRAY_INDEX", f"elt() has no text number {number}")
        answers.append(None if number is None else columns[number - 1][row])
    return pa.array(answers, type_)


def masked_text(value: str, upper: str, lower: str, digit: str, other: str) -> str:
    """The text with signs in the place of its characters; "" keeps a kind as it is."""

    def put(sign: str) -> str:
        if ord(sign) > 0xFFFF:  # Java looks at its halves, which are no letters
            return other * 2 or sign
        if sign.isupper():
            return upper or sign
        if sign.islower():
            return lower or sign
        if sign.isdigit():
            return digit or sign
        return other or sign

    return "".join(map(put, value))


_matching(masked_text, "mask")

_NO_URL = re.compile(r"[\x00-\x20\"<>\\^`{|}\x7f]|%(?![0-9a-fA-F]{2})")


def _url(value: str) -> str:
    if _NO_URL.search(value):
        raise SparkError("INVALID_URL", f"{value!r} is no URL; use try_parse_url")
    return value


_matching(_url, "url")
_matching(lambda v: None if _NO_URL.search(v) else v, "try_url")


@kernel
def query_value(type_: Any, query: Array, key: Array) -> Array:
    """The value of a key in the query of a URL as it stands there; the key is a regular expression."""
    from proa.engine.parity.kernels_regex import regexp_extract

    count = len(query)
    pattern = pc.binary_join_element_wise("(&|^)", key, "=([^&]*)", "")
    hit = regexp_extract(type_, query, pattern, pa.array([0] * count, pa.int32()))
    value = regexp_extract(type_, query, pattern, pa.array([2] * count, pa.int32()))
    return pc.if_else(pc.equal(hit, ""), pa.scalar(None, type_), value)


def _bytes_of_hex(value: str) -> bytes | None:
    digits = value if len(value) % 2 == 0 else f"0{value}"
    return bytes.fromhex(digits) if re.fullmatch(r"[0-9a-fA-F]*", value) else None


def _hex_or_raise(value: str) -> bytes:
    found = _bytes_of_hex(value)
    if found is None:
        raise SparkError("CONVERSION_INVALID_INPUT", f"{value!r} has other signs than hexadecimal")
    return found


_matching(_hex_or_raise, "bytes_of_hex")
_matching(_bytes_of_hex, "try_bytes_of_hex")


def _digits_to_number(
    type_: Any, array: Array, before: Array, after: Array, *, tries: bool
) -> Array:
    """Text of at most so many digits before and behind its point; blanks do not count."""

    def one(text: str, most_before: int, most_after: int) -> Decimal | None:
        whole, _, rest = "".join(text.split()).partition(".")
        fits = len(whole) <= most_before and len(rest) <= most_after
        if fits and (whole + rest).isdecimal():
            return Decimal(f"{whole or 0}.{rest or 0}")
        if tries:
            return None
        raise SparkError(
            "INVALID_FORMAT.MISMATCH_INPUT",
            f"the text {text!r} is no number of the format of to_number(); use try_to_number",
        )

    return each(one, type_, array, before, after)


@kernel
def digits_to_number(type_: Any, array: Array, before: Array, after: Array) -> Array:
    return _digits_to_number(type_, array, before, after, tries=False)


@kernel
def try_digits_to_number(type_: Any, array: Array, before: Array, after: Array) -> Array:
    return _digits_to_number(type_, array, before, after, tries=True)
