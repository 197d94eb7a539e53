"""What Spark's functions do that planning must know: which of them aggregate."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as prose."""
    return frozenset(text.split())


AGGREGATES = words(
    """any any_value approx_count_distinct approx_percentile approx_top_k approx_top_k_accumulate
    approx_top_k_combine array_agg avg bit_and bit_or bit_xor bitmap_and_agg
    bitmap_construct_agg bitmap_or_agg bool_and bool_or collect_list collect_set collect_union
    corr count count_if count_min_sketch covar_pop covar_samp every first first_value grouping
    grouping_id histogram_numeric hll_sketch_agg hll_union_agg kll_merge_agg_bigint
    kll_merge_agg_double kll_merge_agg_float kll_sketch_agg_bigint kll_sketch_agg_double
    kll_sketch_agg_float kurtosis last last_value listagg max max_by mean measure median min
    min_by mode percentile percentile_approx percentile_cont percentile_disc product regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    schema_of_variant_agg skewness some std stddev stddev_pop stddev_samp string_agg sum
    theta_intersection_agg theta_sketch_agg theta_union_agg try_avg try_sum
    tuple_intersection_agg_double tuple_intersection_agg_integer tuple_sketch_agg_double
    tuple_sketch_agg_integer tuple_union_agg_double tuple_union_agg_integer var_pop var_samp
    variance vector_avg vector_sum"""
)
"""Functions that make one value of many rows; lower case."""

CLOCK = words(
    """current_timestamp now current_date curdate current_time localtime localtimestamp getdate sysdate
    systimestamp today"""
)
"""Functions that say when they are computed."""

CLOCK_WITHOUT_ARGUMENTS = words("unix_timestamp to_unix_timestamp")
"""The same, when they are called without arguments."""

RANDOM = words(
    """rand random randn randstr uniform normal uuid shuffle monotonically_increasing_id
    spark_partition_id"""
)
"""Functions whose value depends on chance, or on how rows are spread over partitions."""

ENVIRONMENT = words(
    """current_user user session_user current_catalog current_database current_schema
    current_metastore current_path current_version version current_recipient spark_version"""
)
"""Functions that say where they are computed."""

REGION_PATHS = words("input_file_name")
"""Functions whose value holds a region's own paths."""

EXTERNAL = words(
    """ai_query ai_analyze_sentiment ai_classify ai_extract ai_fix_grammar ai_forecast ai_gen
    ai_generate_text ai_mask ai_similarity ai_summarize ai_translate http_request java_method
    reflect try_reflect secret try_secret vector_search remote_query read_kafka"""
)
"""Functions that ask something outside of the pipeline."""

ORDER_DEPENDENT = words(
    """first first_value last last_value any_value collect_list collect_set array_agg listagg
    string_agg percentile_approx approx_percentile histogram_numeric approx_top_k mode collect_union
    approx_top_k_accumulate approx_top_k_combine hll_sketch_agg hll_union_agg kll_merge_agg_bigint
    kll_merge_agg_double kll_merge_agg_float kll_sketch_agg_bigint kll_sketch_agg_double
    kll_sketch_agg_float"""
)
"""Aggregates whose value depends on the order in which rows arrive."""

PICKS_A_ROW = words("max_by min_by")
"""Aggregates that take a value from the row whose other value is largest or smallest."""

MAKES_A_LIST = words("collect_list collect_set collect_union array_agg")

FORGETS_ORDER = words(
    """sort_array array_sort size array_size cardinality array_contains array_max array_min
    arrays_overlap explode explode_outer inline inline_outer"""
)
"""Functions of an array whose value does not depend on the order of its elements."""

KEEPS_ORDER = words(
    "array_distinct array_compact transform filter array_remove array_union flatten"
)
"""Functions that hand an array's order on, for a function of `FORGETS_ORDER` around them."""

TIE_SENSITIVE = words(
    """row_number ntile lag lead first first_value last last_value nth_value any_value collect_list
    array_agg listagg string_agg counter_diff"""
)
"""Window functions that tell rows apart which the window's order does not."""

NORMALISES_A_PATH = words(
    """regexp_extract regexp_replace regexp_substr substring_index split split_part replace
    regexp_extract_all parse_url"""
)
"""Functions that can cut a path down to the part that is the same in every region."""

FLOAT_SUMS = words(
    """sum avg mean try_sum try_avg stddev stddev_pop stddev_samp std variance var_pop var_samp corr
    covar_pop covar_samp skewness kurtosis product regr_slope regr_intercept regr_r2 regr_sxx
    regr_sxy regr_syy regr_avgx regr_avgy vector_avg vector_sum"""
)
"""Aggregates that add: over floats, the result depends on the order of the terms."""

RETURNS_DOUBLE = words(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh cot csc degrees double e exp expm1 float
    hypot ln log log10 log1p log2 percentile pi pow power radians sec sin sinh sqrt tan tanh stddev
    stddev_pop stddev_samp std variance var_pop var_samp corr covar_pop covar_samp skewness
    kurtosis product cume_dist percent_rank"""
)
"""Functions that return a double whatever they are given."""

SAME_TYPE = words(
    """+ - * / % abs negative positive round bround coalesce nvl ifnull nullif greatest least sum
    try_add try_subtract try_multiply try_divide avg mean max min first last any_value max_by
    min_by try_sum try_avg if iff nvl2 case when first_value last_value lag lead nanvl mod"""
)
"""Functions that return a double when they are given one."""

GENERATORS = words(
    """explode explode_outer posexplode posexplode_outer inline inline_outer stack json_tuple
    variant_explode variant_explode_outer"""
)
"""Functions that make several rows of one."""
