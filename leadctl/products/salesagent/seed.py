"""The fixtures of salesagent: an organisation with two users, and one example of its work."""

from leadctl.apps.fixtures import Fixture
from leadctl.models import hashed

ORGANISATION = Fixture(
    "organisations",
    key={"domain": "aisalesagent.com"},
    values={"name": "AI Sales Agent", "region": "EU", "language": "en"},
)

SUBSCRIPTION = Fixture(
    "subscriptions",
    key={"organisation_id": ORGANISATION.ref()},
    values={
        "plan": "PROFESSIONAL",
        "status": "ACTIVE",
        "billing_interval": "MONTHLY",
        "price_cents": 9900,
        "currency": "EUR",
        "seats": 5,
    },
)

ADMIN = Fixture(
    "users",
    key={"email": "admin@aisalesagent.com"},
    values={
        "organisation_id": ORGANISATION.ref(),
        "password_hash": hashed("Admin123!"),
        "first_name": "Admin",
        "last_name": "User",
        "role": "ADMIN",
    },
)

DEMO = Fixture(
    "users",
    key={"email": "demo@example.com"},
    values={
        "organisation_id": ORGANISATION.ref(),
        "password_hash": hashed("Demo123!"),
        "first_name": "Demo",
        "last_name": "User",
        "role": "MEMBER",
    },
)

ICP = Fixture(
    "icps",
    key={"organisation_id": ORGANISATION.ref(), "name": "European software companies"},
    values={
        "description": "Software companies that are growing and sell to other businesses.",
        "industries": ["Software", "Information technology"],
        "countries": ["FR", "DE", "NL"],
        "job_titles": ["CEO", "CTO", "Head of Sales"],
        "min_employees": 20,
        "max_employees": 500,
        "min_score": 60,
        "criteria": {"funding": ["Seed", "Series A"], "technologies": ["CRM"]},
    },
)


def _prospect(email: str, **values: object) -> Fixture:
    common = {"icp_id": ICP.ref(), "user_id": DEMO.ref()}
    return Fixture(
        "prospects",
        key={"organisation_id": ORGANISATION.ref(), "email": email},
        values={**common, **values},
    )


CLAIRE = _prospect(
    "claire.martin@nuage.example",
    first_name="Claire",
    last_name="Martin",
    job_title="CTO",
    company_name="Nuage",
    company_domain="nuage.example",
    country="FR",
    language="fr",
    stage="QUALIFIED",
    source="ENRICHMENT",
    score=85,
    fit_score=90,
    intent_score=78,
    tags=["saas", "warm"],
    enrichment={"employees": 120, "technologies": ["CRM", "PostgreSQL"]},
)
JONAS = _prospect(
    "jonas.weber@werkzeug.example",
    first_name="Jonas",
    last_name="Weber",
    job_title="Head of Sales",
    company_name="Werkzeug",
    company_domain="werkzeug.example",
    country="DE",
    stage="CONTACTED",
    source="IMPORT",
    score=64,
    fit_score=70,
    intent_score=55,
    tags=["manufacturing"],
    enrichment={"employees": 300},
)
SANNE = _prospect(
    "sanne.devries@polder.example",
    first_name="Sanne",
    last_name="de Vries",
    job_title="CEO",
    company_name="Polder",
    company_domain="polder.example",
    country="NL",
    source="INBOUND",
)


def _sequence(name: str, description: str, language: str) -> Fixture:
    return Fixture(
        "email_sequences",
        key={"organisation_id": ORGANISATION.ref(), "name": name},
        values={"description": description, "status": "ACTIVE", "language": language},
    )


def _step(
    sequence: Fixture, position: int, delay_days: int, subject_template: str, body_template: str
) -> Fixture:
    return Fixture(
        "sequence_steps",
        key={"sequence_id": sequence.ref(), "position": position},
        values={
            "organisation_id": ORGANISATION.ref(),
            "delay_days": delay_days,
            "subject_template": subject_template,
            "body_template": body_template,
        },
    )


INTRODUCTION = _sequence("Introduction", "A first contact in three emails.", "en")
PREMIER_CONTACT = _sequence("Premier contact", "Un premier contact en deux emails.", "fr")

STEPS = (
    _step(
        INTRODUCTION,
        1,
        0,
        "{{company_name}} and the time that selling takes",
        "Hello {{first_name}},\n\nhow much of its week does your team spend on looking for whom to "
        "call? We find these people, and write the first email.\n\n{{sender_name}}",
    ),
    _step(
        INTRODUCTION,
        2,
        3,
        "Re: {{company_name}} and the time that selling takes",
        "Hello {{first_name}},\n\nhere is what a company of your size changed in a month. Shall I "
        "show you in fifteen minutes?\n\n{{sender_name}}",
    ),
    _step(
        INTRODUCTION,
        3,
        7,
        "Should I stop writing?",
        "Hello {{first_name}},\n\nif this is not the right time, one word is enough, and I will "
        "not write again.\n\n{{sender_name}}",
    ),
    _step(
        PREMIER_CONTACT,
        1,
        0,
        "{{company_name}} et le temps de la prospection",
        "Bonjour {{first_name}},\n\ncombien d'heures par semaine votre équipe passe-t-elle à "
        "chercher qui appeler ? Nous trouvons ces personnes.\n\n{{sender_name}}",
    ),
    _step(
        PREMIER_CONTACT,
        2,
        4,
        "Re : {{company_name}} et le temps de la prospection",
        "Bonjour {{first_name}},\n\nauriez-vous quinze minutes cette semaine ?\n\n{{sender_name}}",
    ),
)


def _insight(prospect: Fixture, title: str, **values: object) -> Fixture:
    return Fixture(
        "ai_insights",
        key={"prospect_id": prospect.ref(), "title": title},
        values={"organisation_id": ORGANISATION.ref(), "model": "example", **values},
    )


INSIGHTS = (
    _insight(
        CLAIRE,
        "Ready for a demonstration",
        type="NEXT_ACTION",
        recommendation="Propose a demonstration this week: she read the pricing page twice.",
        confidence=0.87,
        evidence={"pages": ["/pricing", "/pricing"], "opened_emails": 3},
    ),
    _insight(
        JONAS,
        "Fits the profile, shows little intent",
        type="QUALIFICATION",
        recommendation="Keep the prospect in the sequence, and look again after the third email.",
        confidence=0.62,
        evidence={"fit_score": 70, "intent_score": 55},
    ),
    _insight(
        SANNE,
        "Answer while the interest is fresh",
        type="TIMING",
        recommendation="Write within a day: the request came through the contact form.",
        confidence=0.74,
        evidence={"source": "contact form"},
    ),
)

FIXTURES = (
    ORGANISATION,
    SUBSCRIPTION,
    ADMIN,
    DEMO,
    ICP,
    CLAIRE,
    JONAS,
    SANNE,
    INTRODUCTION,
    PREMIER_CONTACT,
    *STEPS,
    *INSIGHTS,
)
