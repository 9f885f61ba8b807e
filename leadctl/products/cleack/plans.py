"""The price list: what a plan costs and brings today."""

from collections.abc import Mapping
from dataclasses import dataclass

from leadctl.products.cleack.models import PlanType


@dataclass(frozen=True)
class Terms:
    """What a subscription is sold on; it keeps them when the list changes."""

    price_cents: int
    """US cents: for a year with the annual plan, for a month with the others."""
    credits_per_month: int


PRICE_LIST: Mapping[PlanType, Terms] = {
    PlanType.MONTHLY: Terms(price_cents=14_99, credits_per_month=10),
    PlanType.ANNUAL: Terms(price_cents=99_00, credits_per_month=50),
}
"""The enterprise plan is not in it: its terms are agreed for each customer."""
