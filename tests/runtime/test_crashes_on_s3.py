"""The loop over all steps again, on S3: what happened although nobody was told."""

import pytest
from test_crashes import STEPS, begin, check

from proa.testing import Fault, Kill, LoseAnswer, When

pytestmark = pytest.mark.slow

HAPPENED = [fault for step in STEPS for fault in (Kill(step, When.AFTER), LoseAnswer(step))]


@pytest.mark.parametrize("fault", HAPPENED, ids=str)
def test_every_row_is_there_once_on_s3(make, s3_location, fault: Fault) -> None:
    check(begin(make(s3_location)), fault)
