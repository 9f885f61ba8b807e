"""Where keys come from, in which order, and what never shows."""

import os
from pathlib import Path

import pytest

from leadctl.crypto import keyring_of, parse_keys
from leadctl.errors import InvalidKey, KeyCommandFailed
from leadctl.settings import load_settings

A, B, C, D = ("aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32)


def labels(**environ: str) -> list[str]:
    ring = keyring_of(load_settings(environ={"DATABASE_URL": "postgresql://x/y", **environ}))
    return [key.label for key in ring.keys] + [f"legacy {key.label}" for key in ring.legacy]


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_first_key_encrypts(tmp_path: Path) -> None:
    assert labels() == []
    assert labels(ENCRYPTION_KEY=A) == ["ENCRYPTION_KEY"]
    assert labels(ENCRYPTION_KEYS=f"new:{A},old:{B}") == ["new", "old"]
    file = private(tmp_path / "keys", f"# ours\nfile:{C}  # the third\n\n{D}\nlegacy/node:{A}\n")
    assert labels(
        ENCRYPTION_KEYS=f"new:{A}",
        ENCRYPTION_KEY=B,
        ENCRYPTION_KEY_FILE=file,
        ENCRYPTION_KEY_COMMAND=f"echo cmd:{D}",
    ) == ["new", "ENCRYPTION_KEY", "file", "keys", "legacy node"]


def test_a_file_is_found_from_where_its_path_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("project/deep", "home"):
        (tmp_path / folder).mkdir(parents=True)
        private(tmp_path / folder / "keys", f"{folder}:{A}")
    private(tmp_path / "project" / "keys", f"project:{B}")
    (tmp_path / "project" / "leadctl.toml").write_text("")
    (tmp_path / "project" / ".env").write_text("ENCRYPTION_KEY_FILE=keys\n")
    monkeypatch.chdir(tmp_path / "project" / "deep")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert labels() == ["project"]
    assert labels(ENCRYPTION_KEY_FILE="keys") == ["project/deep"]
    assert labels(ENCRYPTION_KEY_FILE="~/keys") == ["home"]


def test_the_same_key_under_two_labels_is_one() -> None:
    assert labels(ENCRYPTION_KEYS=f"a:{A},b:{A}", ENCRYPTION_KEY=A) == ["a"]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    for mode in (0o640, 0o604, 0o644):
        file = private(tmp_path / "keys", A, mode)
        with pytest.raises(InvalidKey, match="read by others") as caught:
            labels(ENCRYPTION_KEY_FILE=file)
        assert A not in str(caught.value) + caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="No such file"):
        labels(ENCRYPTION_KEY_FILE=str(tmp_path / "nothing"))


@pytest.mark.parametrize("command", ["true", f"echo {A}; exit 3", f"echo {A} >&2; false"])
def test_a_command_that_fails_shows_no_key(command: str) -> None:
    with pytest.raises(KeyCommandFailed) as caught:
        labels(ENCRYPTION_KEY_COMMAND=command)
    assert A not in str(caught.value) + caught.value.hint


def test_a_command_knows_the_project(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text(f"v1:{A}")
    assert labels(ENCRYPTION_KEY_COMMAND="cat vault") == ["v1"]


@pytest.mark.parametrize("text", ["zz" * 32, f"x:{A}0", f"{A} {B}", "a:b:c", f"legacy/{A[:-2]}"])
def test_malformed_keys(text: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        parse_keys(text, "X")
    for part in text.replace("/", ":").split(":"):
        assert len(part) < 10 or part not in caught.value.message


def test_the_embedded_server_s_key_serves_alone(tmp_path: Path) -> None:
    (tmp_path / ".leadctl").mkdir()
    private(tmp_path / ".leadctl" / "encryption.key", A)
    assert [key.label for key in keyring_of(load_settings(environ={})).keys] == ["embedded"]
    found = keyring_of(load_settings(environ={"ENCRYPTION_KEY": B}))
    assert [key.label for key in found.keys] == ["ENCRYPTION_KEY"]
    other = keyring_of(load_settings(environ={"DATABASE_URL": "postgresql://x/y"}))
    assert other.keys == []


def test_nothing_of_the_environment_is_changed(tmp_path: Path) -> None:
    before = dict(os.environ)
    labels(ENCRYPTION_KEY=A)
    assert dict(os.environ) == before
