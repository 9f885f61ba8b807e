from leadctl.apps.fixtures import Fixture

ADA = Fixture(
    "customers",
    key={"email": "ada@example.com"},
    values={"tags": ["vip"], "iban": "DE02120300000000202051"},
)
ORDER = Fixture("orders", key={"id": 1}, values={"customer_id": ADA.ref(), "total": 12})

FIXTURES = (ADA, ORDER)
