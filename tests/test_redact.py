from leadctl.redact import HIDDEN, Secret, scrub, without_values


def test_scrub_hides_what_has_the_shape_of_a_secret() -> None:
    assert "hunter" not in scrub("connect to postgresql://ada:hunter@db/x failed")
    assert "hunter" not in scrub("conninfo: host=db password=hunter user=ada")
    assert "hunt er" not in scrub("password='hunt er'")


def test_scrub_hides_what_is_known() -> None:
    Secret("tr@ub4dor&3")
    assert "ub4dor" not in scrub("the server said tr@ub4dor&3")
    assert "ub4dor" not in scrub("postgresql://x/?p=tr%40ub4dor%263")


def test_a_secret_shows_nothing() -> None:
    secret = Secret("hunter22")
    assert "hunter" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter22"


def test_what_names_an_object_is_no_value() -> None:
    for said in (
        'operator class "a_ops" does not exist for access method "gin"',
        'must be able to SET ROLE "admin"',
        'foreign-data wrapper "postgres_fdw" does not exist',
        'Column "doubled" is a generated column.',
    ):
        assert without_values(said) == said
    assert without_values('invalid input for type integer: "4111"') == (
        f"invalid input for type integer: {HIDDEN}"
    )
