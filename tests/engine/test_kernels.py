"""Proa's own functions: whole arrays at once give what is computed one value at a time."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proa.engine.parity import kernels_regex
from proa.engine.parity.date_patterns import DatePatternError, format_moments, read_moments
from proa.engine.parity.java_regex import PatternError, compile_pattern
from proa.engine.parity.kernels import SparkError, load
from proa.engine.parity.kernels_casts import double_text, timestamp_text
from proa.engine.parity.kernels_text import converted

KERNELS = load()
DOUBLES = st.one_of(
    st.floats(),
    st.integers(-(10**7), 10**7).map(lambda n: n / 1000),
    st.integers(-(10**6), 10**6).map(lambda n: n + 0.5),
)
MODES = {
    "rounded": ROUND_HALF_UP,
    "brounded": ROUND_HALF_EVEN,
    "ceiled": ROUND_CEILING,
    "floored": ROUND_FLOOR,
}
CONTEXT = Context(prec=800)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


def run(name, type_, *columns):
    return KERNELS[name](type_, *columns).to_pylist()


def same(left, right):
    return left == right or (
        left is not None and right is not None and math.isnan(left) and math.isnan(right)
    )


@given(st.lists(st.none() | DOUBLES, min_size=1), st.integers(0, 6), st.sampled_from(list(MODES)))
@example([1.005, 0.285, 2.5, -0.0, math.nan, math.inf, 1e300, None], 2, "rounded")
def test_doubles_are_rounded_as_their_shortest_text_is(values, scale, name):
    def one(value):
        if value is None or not math.isfinite(value):
            return value
        unit = Decimal(1).scaleb(-scale)
        return float(Decimal(double_text(value)).quantize(unit, MODES[name], CONTEXT)) or 0.0

    found = run(name, pa.float64(), pa.array(values, pa.float64()), pa.array([scale] * len(values)))
    assert all(map(same, found, map(one, values)))


@given(st.lists(st.none() | DOUBLES, min_size=1))
def test_doubles_are_written_as_java_writes_them(values):
    wanted = [None if v is None else double_text(v) for v in values]
    assert run("text", pa.string(), pa.array(values, pa.float64())) == wanted


@given(st.lists(st.none() | DOUBLES, min_size=1))
def test_doubles_become_decimals_rounded_half_up_or_null(values):
    def one(value):
        if value is None or not math.isfinite(value):
            return None
        cut = Decimal(double_text(value)).quantize(Decimal("0.01"), ROUND_HALF_UP, CONTEXT)
        return cut if abs(cut) < 10**10 else None

    found = run("try_to_decimal", pa.decimal128(12, 2), pa.array(values, pa.float64()))
    assert found == [one(value) for value in values]


@pytest.mark.parametrize(("scale", "target"), [(0, 2), (4, 2), (2, 4), (3, 3), (0, 12), (12, 0)])
@settings(max_examples=50)
@given(data=st.data())
def test_decimals_of_another_scale_are_rounded_half_up_or_null(scale, target, data):
    most = Decimal(10) ** (20 - scale) - 1
    values = data.draw(st.lists(st.none() | st.decimals(-most, most, places=scale), min_size=1))
    unit, limit = Decimal(1).scaleb(-target), Decimal(10) ** (14 - target)

    def one(value):
        cut = None if value is None else value.quantize(unit, ROUND_HALF_UP, CONTEXT)
        return None if cut is None or abs(cut) >= limit else cut

    given_ = pa.array(values, pa.decimal128(20, scale))
    assert run("try_to_decimal", pa.decimal128(14, target), given_) == [one(v) for v in values]


@pytest.mark.parametrize(
    ("dividends", "divisors", "quotients"),
    [((12, 2), (12, 2), (27, 15)), ((5, 0), (12, 2), (20, 13)), ((20, 0), (12, 2), (35, 13)), ((20, 3), (20, 3), (38, 17)),
     ((12, 2), (5, 4), (20, 8)), ((38, 18), (38, 18), (38, 6)), ((5, 0), (20, 0), (26, 21))],
)  # fmt: skip
@given(data=st.data())
def test_quotients_are_exact_but_for_the_last_digit_rounded_half_up(
    dividends, divisors, quotients, data
):
    def column(precision, scale):
        most = Decimal(10) ** min(precision - scale, 9) - 1
        return st.lists(st.decimals(-most, most, places=scale), min_size=4, max_size=4)

    left = data.draw(column(*dividends))
    right = [value or Decimal(1).scaleb(-divisors[1]) for value in data.draw(column(*divisors))]
    unit = Decimal(1).scaleb(-quotients[1])
    wanted = [
        CONTEXT.divide(a, b).quantize(unit, ROUND_HALF_UP, CONTEXT)
        for a, b in zip(left, right, strict=True)
    ]
    type_ = pa.decimal128(*quotients)
    columns = (pa.array(left, pa.decimal128(*dividends)), pa.array(right, pa.decimal128(*divisors)))
    if any(abs(value) >= Decimal(10) ** (quotients[0] - quotients[1]) for value in wanted):
        with pytest.raises(SparkError):
            run("decimal_divide", type_, *columns)
    else:
        assert run("decimal_divide", type_, *columns) == wanted


@given(st.lists(st.none() | MOMENTS, min_size=1))
def test_moments_are_written_without_zeros_at_the_end_and_read_again(micros):
    moments = pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
    texts = KERNELS["text"](pa.string(), moments)
    assert texts.to_pylist() == [
        None if n is None else timestamp_text(EPOCH + timedelta(microseconds=n)) for n in micros
    ]
    assert KERNELS["from_text"](moments.type, texts).to_pylist() == moments.to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    ["yyyy-MM-dd HH:mm:ss.SSSSSS", "MMM d, yyyy h:mm:ss.SSSSSS a", "yyyyDDDHHmmssSSSSSS", "d.M.yyyy k:m:s.SSSSSS",
     "'on' MMMM dd yyyy K:mm:ss a.SSSSSS", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "yyyy-MM-dd HH:mm:ss[.SSSSSS]"],
)  # fmt: skip
@given(micros=st.lists(MOMENTS, min_size=1))
def test_what_a_pattern_writes_it_reads(pattern, micros):
    moments = pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
    again, unread = read_moments(format_moments(moments, pattern), pattern)
    assert not any(unread.to_pylist())
    assert again.to_pylist() == moments.to_pylist()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("2026-02-30", "yyyy-MM-dd"), ("2026-13-01", "yyyy-MM-dd"), ("2026-1-01", "yyyy-MM-dd"), ("24:00", "HH:mm"),
     ("13:00 AM", "hh:mm a"), ("0:30", "k:mm"), ("2026-366", "yyyy-DDD"), ("2026-01-05x", "yyyy-MM-dd"),
     ("2026-01-05T10:00:00+25:00", "yyyy-MM-dd'T'HH:mm:ssXXX"), ("January 5", "MMM d")],
)  # fmt: skip
def test_what_is_not_a_time_is_not_read(text, pattern):
    _, unread = read_moments(pa.array([text, None]), pattern)
    assert unread.to_pylist() == [True, False]


@pytest.mark.parametrize(
    "pattern", ["YYYY", "u", "yyyy{", "'open", "EEEEE", "VV V", "yyyy]", "[HH]:mm"]
)
def test_a_pattern_that_is_not_known_is_refused(pattern):
    with pytest.raises(DatePatternError):
        format_moments(pa.array([0], pa.int64()).cast(pa.timestamp("us", "UTC")), pattern)


ATOMS = st.sampled_from(
    ["a", "b", "[ab]", "[^a]", ".", "\\d", "\\w", "\\s", "(a|b)", "(?:ab)", "\\.", ","]
)
PARTS = st.tuples(ATOMS, st.sampled_from(["", "+", "?", "*", "{2}", "{1,2}", "+?"])).map("".join)
PATTERNS = st.lists(PARTS, min_size=1, max_size=3).map("".join)
TEXTS = st.lists(st.none() | st.text("ab1 .,\n😀é", max_size=6), min_size=1, max_size=5)


@pytest.mark.slow
@given(TEXTS, PATTERNS)
@example(["a1b", None, "😀"], "x*")
def test_arrow_matches_as_one_value_at_a_time_does(values, pattern):
    """Two rows of another pattern make a kernel go value by value."""

    def both(name, type_, *constants):
        quick, slow = (
            [*values], [*values, "", ""],
        )  # fmt: skip
        columns = [[pattern] * len(values), *([c] * len(values) for c in constants)]
        others = [
            [pattern] * len(values) + ["zz", "zzz"],
            *([c] * (len(values) + 2) for c in constants),
        ]
        return (
            run(name, type_, pa.array(quick, pa.string()), *map(pa.array, columns)),
            run(name, type_, pa.array(slow, pa.string()), *map(pa.array, others))[:-2],
        )

    for name, type_, constants in [
        ("rlike", pa.bool_(), ()),
        ("regexp_replace", pa.string(), ("<$0>", 1)),
        ("regexp_extract", pa.string(), (0,)),
        ("regexp_count", pa.int32(), ()),
        ("split", pa.list_(pa.string()), (-1,)),
        ("split", pa.list_(pa.string()), (2,)),
    ]:
        quick, slow = both(name, type_, *constants)
        assert quick == slow, name


@given(
    TEXTS, st.sampled_from(["(a)|b", "(a+)(b)?", "a(?:(1)|(b))", "([ab])([^a])"]), st.integers(1, 2)
)
def test_arrow_extracts_the_group_that_python_finds(values, pattern, number):
    number = min(number, re.compile(pattern).groups)
    rows = len(values)
    found = run(
        "regexp_extract",
        pa.string(),
        pa.array(values, pa.string()),
        pa.array([pattern] * rows),
        pa.array([number] * rows),
    )
    matches = [None if v is None else re.search(pattern, v) for v in values]
    assert found == [
        None if v is None else "" if m is None else m.group(number) or ""
        for v, m in zip(values, matches, strict=True)
    ]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("[[a-c]&&[b-z]]", "bc"), ("[a-z&&[^aeiou]]", "bc"), ("\\p{Lu}", "XÉ"), ("[\\p{L}&&[^a]]", "bceéXÉ"),
     ("[^\\p{L}\\d]", "-]"), ("\\P{L}", "-]1"), ("[\\D&&\\W]", "éÉ-]"), ("[]a]", "a]"), ("[a-c-]", "abc-")],
)  # fmt: skip
def test_classes_are_javas(pattern, matches):
    found = compile_pattern(pattern).findall("abceéXÉ-]1")
    assert sorted(found) == sorted(matches)


@pytest.mark.parametrize("pattern", ["(", "*a", "[", "a{", "{2}", "a\\", "[b-a]"])
def test_a_pattern_that_java_refuses_too_is_an_error_of_the_values(pattern):
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert caught.value.spark_too
    assert run("rlike", pa.bool_(), pa.array([None], pa.string()), pa.array([pattern])) == [None]
    with pytest.raises(SparkError):
        run("rlike", pa.bool_(), pa.array(["a"]), pa.array([pattern]))


def test_empty_matches_stand_between_the_halves_of_wide_characters():
    assert kernels_regex.replace_text("😀x", "x*", "X") == "X?X?XX"
    assert kernels_regex.replace_text("a😀", "$", "!") == "a😀!"
    assert kernels_regex.split_text("😀,b", ",", -1) == ["😀", "b"]


@given(st.integers(0, 2**64 - 1), st.integers(2, 36))
def test_whole_numbers_of_any_base_are_converted(number, base):
    digits = converted(str(number), 10, base)
    assert digits is not None
    assert int(digits, base) == number
    signed = converted(str(number), 10, -10)
    assert signed == str(number - 2**64 if number >= 2**63 else number)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e23, "1.9999999999999998E23"),
        (8.41e21, "8.409999999999999E21"),
        (4.715035678144768e19, "4.7150356781447676E19"),
        (3.2260573308414773e25, "3.2260573308414772E25"),
        (1.2345678901234567e18, "1.23456789012345677E18"),
        (2.0**63, "9.223372036854776E18"),
        (-1e300, "-1.0E300"),
    ],
)
def test_large_doubles_have_the_digits_of_java_17(value, text):
    assert double_text(value) == text


@given(st.floats(min_value=2.0**53, allow_infinity=False, allow_nan=False))
def test_the_digits_of_a_large_double_tell_it_from_its_neighbours(value):
    assert float(double_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5e10, "1.50000005E10"),
        (33554433.0, "3.3554432E7"),
        (4.2709575834037384e25, "4.2709575E25"),
    ],
)
def test_large_floats_have_the_digits_of_java_17(value, text):
    assert run("text", pa.string(), pa.array([value], pa.float32())) == [text]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (pa.int64(), [-(2**63), 1, -3, 2]),
        (pa.float64(), [-math.inf, -2.5, 2.5, 3.0, math.nan, 123456789.125]),
        (
            pa.decimal128(12, 2),
            [Decimal("-2.25"), Decimal("2.50"), Decimal("-9999999999.99"), Decimal("1.10")],
        ),
        (pa.date32(), []),
    ],
)
def test_sets_have_the_order_of_scalas(type_, values):
    lists = pa.list_(type_)
    ordered = run("in_hash_order", lists, pa.array([values[::-1], None, []], lists))
    assert (repr(ordered[0]), ordered[1:]) == (repr(values), [None, []])


@given(st.lists(st.none() | st.lists(st.integers(0, 3)), min_size=1))
def test_only_the_first_of_equal_members_is_kept(rows):
    lists = pa.list_(pa.int64())
    expected = [None if row is None else list(dict.fromkeys(row)) for row in rows]
    assert run("first_ones", lists, pa.array(rows, lists)) == expected


@given(st.lists(st.none() | st.decimals(-(10**35), 10**35, places=2), min_size=1, max_size=5))
def test_the_halves_of_decimals_have_their_sum(values):
    type_ = pa.decimal128(38, 2)
    column = pa.array(values, type_)
    halves = [run(name, pa.decimal128(20, 0), column) for name in ("high_half", "low_half")]
    for value, high, low in zip(values, *halves, strict=True):
        if value is not None:
            assert (int(high) << 64) + int(low) == int(value.scaleb(2, CONTEXT))


def test_a_sum_that_does_not_fit_is_an_error_or_null():
    type_, half = pa.decimal128(38, 0), pa.decimal128(30, 0)
    high, low = pa.array([10**20], half), pa.array([0], half)
    assert run("sum_of_halves", type_, high, low, pa.array([True])) == [None]
    with pytest.raises(SparkError):
        run("sum_of_halves", type_, high, low, pa.array([False]))


@pytest.mark.parametrize(
    ("rows", "error", "counted"),
    [(0, "", 0), (300, "", 296), (1000, "", 1026), (100_000, ", 0.01", 100_425)],
)
def test_distinct_values_are_counted_with_sparks_error(embedded, rows, error, counted):
    """What Apache Spark 4.2.1 answers."""
    text = f"SELECT approx_count_distinct(id{error}) AS n FROM range({rows})"
    assert embedded.spark.sql(text).collect()[0].n == counted


def test_an_average_of_short_decimals_is_rounded_from_a_double(embedded):
    """3333.1666675 is 3333.1666674999996 as Apache Spark computes it."""
    values = "(CAST(id / 3 AS DECIMAL(12, 4)))"
    text = f"SELECT avg(CAST({values} AS DECIMAL(10, 2))) AS a FROM range(2, 20000, 5)"
    assert str(embedded.spark.sql(text).collect()[0].a) == "3333.166667"


def test_two_aggregates_may_be_over_one_value_that_a_kernel_computes(embedded):
    value = "round(CAST(id AS DECIMAL(9, 4)), 2)"
    text = f"SELECT avg({value}), sum({value}), avg({value}) + 1, count({value}) FROM range(9)"
    assert list(map(float, embedded.spark.sql(text).collect()[0])) == [4, 36, 5, 9]


def test_the_keys_of_a_window_are_computed_by_kernels_too(embedded):
    """The average is another one for integers, and its window is not."""
    day = "date_trunc('DAY', timestamp_seconds(id * 40000))"
    over = f"OVER (PARTITION BY {day} ORDER BY round(id / 3, 1), id)"
    text = f"SELECT avg(CAST(id AS INT)) {over} AS a, sum(id) {over} / count(*) {over} AS b"
    rows = embedded.spark.sql(f"{text} FROM range(20)").collect()
    assert [row.a for row in rows] == [row.b for row in rows]
    assert any(row.a % 1 for row in rows)


@pytest.mark.parametrize("name", ["max_by", "min_by"])
@pytest.mark.parametrize(
    ("kind", "keys"),
    [(pa.int64(), [1, 2, -5]), (pa.string(), ["a", "é", "", "b"]), (pa.bool_(), [True, False]),
     (pa.float64(), [0.0, -0.0, 1.5, -math.inf, math.nan]), (pa.decimal128(5, 2), [Decimal("1.10"), Decimal(-3)]),
     (pa.timestamp("us", "UTC"), [datetime(2020, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])],
)  # fmt: skip
@settings(max_examples=20)
@given(data=st.data())
def test_the_last_row_with_the_best_key_is_chosen(name, kind, keys, data):
    row = st.tuples(st.integers(0, 99), st.none() | st.sampled_from(keys))
    lists = data.draw(st.lists(st.none() | st.lists(row, max_size=6), min_size=1, max_size=5))

    def place(key):
        return (key != key, 0.0 if key != key else key)  # noqa: PLR0124 - NaN is the largest

    def one(rows):
        known = [(place(key), value) for value, key in rows or () if key is not None]
        best = (max if name == "max_by" else min)((key for key, _ in known), default=None)
        return [value for key, value in known if key == best][-1] if known else None

    type_ = pa.list_(pa.struct([("v", pa.int64()), ("k", kind)]))
    pairs = [rows and [{"v": v, "k": k} for v, k in rows] for rows in lists]
    behind = pa.array([[{"v": 7, "k": None}], *pairs], type_).slice(1)  # not at the buffers' begin
    assert KERNELS[name](pa.int64(), behind).to_pylist() == [one(rows) for rows in lists]
