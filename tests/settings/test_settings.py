"""Settings: the order of the sources, and errors that name setting, source and what is allowed."""

from pathlib import Path

import pytest

from leadctl.errors import (
    ConfigurationError,
    InvalidSetting,
    UnknownEnvironment,
    UnknownSetting,
    UnreadableFile,
)
from leadctl.settings import load_settings


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / {"toml": "leadctl.toml", "env": ".env", "local": ".env.local"}[name]).write_text(
            text
        )


def test_each_source_gives_way_to_the_stronger_one(tmp_path: Path) -> None:
    write(tmp_path, toml='schema = "from_toml"')
    sources = []
    environ: dict[str, str] = {}
    flags: dict[str, str | None] = {}
    steps = [
        lambda: write(tmp_path, env="LEADCTL_SCHEMA=from_env_file"),
        lambda: write(tmp_path, local="LEADCTL_SCHEMA=from_local_file"),
        lambda: environ.update(LEADCTL_SCHEMA="from_environment"),
        lambda: flags.update(schema="from_flag"),
    ]
    for step in [lambda: None, *steps]:
        step()
        settings = load_settings(flags, environ=environ)
        sources.append((settings.schema, settings.source("schema")))
    assert sources == [
        ("from_toml", "leadctl.toml"),
        ("from_env_file", ".env"),
        ("from_local_file", ".env.local"),
        ("from_environment", "environment"),
        ("from_flag", "flag --schema"),
    ]


def test_defaults_say_so(tmp_path: Path) -> None:
    settings = load_settings(environ={})
    assert (settings.app, settings.source("app")) == ("leadconnector", "default")
    assert settings.embedded


def test_configuration_is_found_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.leadctl]\nschema = "app"\n')
    (tmp_path / "pkg" / "deep").mkdir(parents=True)
    (tmp_path / "pkg" / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    settings = load_settings(cwd=tmp_path / "pkg" / "deep", environ={})
    assert settings.schema == "app"
    assert settings.project == tmp_path


def test_the_only_declared_app_is_the_default(tmp_path: Path) -> None:
    write(tmp_path, toml='[apps.shop]\nmodels = "shop:Base"')
    assert load_settings(environ={}).app == "shop"
    assert load_settings(environ={"LEADCTL_APP": "leadconnector"}).app == "leadconnector"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"DATABASE_POOL_MAX": "lots"}, ["DATABASE_POOL_MAX", "environment", "'lots'"]),
        ({"DATABASE_POOL_MIN": "7", "DATABASE_POOL_MAX": "3"}, ["DATABASE_POOL_MIN", "7", "3"]),
        ({"LEADCTL_LOCK_WAIT": "soon"}, ["LEADCTL_LOCK_WAIT", "'soon'"]),
        ({"LEADCTL_OUTPUT": "xml"}, ["LEADCTL_OUTPUT", "'xml'"]),
    ],
)
def test_a_wrong_value_names_setting_and_source(environ: dict[str, str], named: list[str]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load_settings(environ=environ)
    for part in named:
        assert part in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("toml", "error", "named"),
    [
        ('shema = "x"', UnknownSetting, "shema"),
        ('[apps.shop]\nmodel = "x"', UnknownSetting, "model"),
        ("[apps.shop]\n", InvalidSetting, "apps.shop"),
        ('[env.prod]\nprotected = "yes"', InvalidSetting, "protected"),
        ("[env]\nprod = 1", InvalidSetting, "env.prod"),
        ("env = 1", InvalidSetting, "env"),
        ("this is not toml", UnreadableFile, "leadctl.toml"),
        ('schema = "a\\u0000"', UnreadableFile, "null character"),
        ('[apps.shop]\nmodels = "x:y"\nschemas = ["a\\u0000"]', UnreadableFile, "null character"),
        ('[health."a\\u0000"]', UnreadableFile, "null character"),
    ],
)
def test_a_wrong_file_is_named(
    tmp_path: Path, toml: str, error: type[ConfigurationError], named: str
) -> None:
    write(tmp_path, toml=toml)
    with pytest.raises(error) as caught:
        load_settings(environ={})
    assert named in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("toml", ["tool = 1", "[tool]\nleadctl = 1", "[[tool.leadctl]]"])
def test_a_pyproject_of_another_form(tmp_path: Path, toml: str) -> None:
    (tmp_path / "pyproject.toml").write_text(toml)
    if "leadctl" not in toml:
        assert load_settings(environ={}, cwd=tmp_path).config_file is None
        return
    with pytest.raises(InvalidSetting, match=r"leadctl of .tool. in .* is not a table"):
        load_settings(environ={}, cwd=tmp_path)


def test_a_broken_line_in_dotenv_is_named(tmp_path: Path) -> None:
    write(tmp_path, env="A=1\nDATABASE_URL 'postgresql://'\n")
    with pytest.raises(UnreadableFile, match="line 2"):
        load_settings(environ={})


def test_an_unknown_environment_is_never_guessed(tmp_path: Path) -> None:
    write(tmp_path, toml='[env.prod]\nurl = "postgresql://db/shop"')
    with pytest.raises(UnknownEnvironment) as caught:
        load_settings({"env": "prdo"}, environ={"DATABASE_URL": "postgresql://localhost/dev"})
    assert "prod" in caught.value.hint


def test_secrets_are_hidden_in_repr() -> None:
    settings = load_settings(
        environ={"DATABASE_URL": "postgresql://u:hunter22@h/d", "ENCRYPTION_KEY": "ab" * 32}
    )
    assert "hunter22" not in repr(settings)
    assert "abab" not in repr(settings)


@pytest.mark.parametrize("name", ["backup_dir", "archive_dir", "backup_identity_file"])
def test_a_path_is_resolved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One of a flag or the environment from the current folder, one of a file from the project."""
    variables = {"archive_dir": "LEADCTL_ARCHIVE_DIR"}
    variable = variables.get(name, name.upper())
    below = tmp_path / "pkg" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found(flags: dict[str, str | None], **environ: str) -> Path:
        path: Path = getattr(load_settings(flags, environ=environ), name)
        return path

    write(tmp_path, toml='schema = "app"')
    assert found({name: "out"}) == below / "out"
    assert found({}, **{variable: "out"}) == below / "out"
    assert found({name: "~/out"}) == found({}, **{variable: "~/out"}) == tmp_path / "home" / "out"
    write(tmp_path, env=f"{variable}=out")
    assert found({}) == tmp_path / "out"
    write(tmp_path, env=f"{variable}=~/out")
    assert found({}) == tmp_path / "home" / "out"
    with pytest.raises(InvalidSetting, match=variable):
        found({}, **{variable: "~nobody-of-that-name/out"})


def test_a_default_folder_is_the_project_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, toml='[backup]\ndir = "kept"\n[apps.shop]\nmodels = "s:B"\nseed_files = "~/s"')
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = load_settings(environ={})
    assert (settings.archive_dir, settings.backup_dir) == (tmp_path / "archives", tmp_path / "kept")
    assert settings.apps["shop"].seed_files == tmp_path / "home" / "s"
    assert settings.apps["shop"].migrations == tmp_path / "migrations"
