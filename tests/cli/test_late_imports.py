"""What is imported late is in the end what Python has, and a short command never gets it."""

from pathlib import Path

import psycopg
import pytest

from tests.conftest import KEY, Prepared
from tests.processes import python

LATE = "import sys; from leadctl.cli import late_imports; late_imports.install()\n"
RUNS_ASYNCIO = pytest.mark.skipif(
    psycopg.__version__ < "3.3", reason="psycopg 3.2 runs asyncio when it is imported"
)
COSTLY = {"asyncio.base_events", "email.message", "importlib.metadata._adapters", "zipfile"}


@RUNS_ASYNCIO
@pytest.mark.few(1)
@pytest.mark.parametrize("arguments", [["migrate"], ["health-check"], ["inspect"]])
def test_a_short_command_runs_no_event_loop_and_reads_no_mail(
    leadconnector: Prepared, arguments: list[str]
) -> None:
    code = (
        f"import sys; sys.argv = ['leadctl', *{arguments!r}]\n"
        "from leadctl.__main__ import main\n"
        "try: main()\nfinally: print('LOADED', *sys.modules)"
    )
    out = python("-c", code, env={"DATABASE_URL": leadconnector.url, "ENCRYPTION_KEY": KEY})
    loaded = set(out.rpartition("LOADED ")[2].split())
    assert "psycopg" in loaded
    assert not COSTLY & loaded


@pytest.mark.few(2)
@pytest.mark.parametrize("package", ["asyncio", "importlib.metadata"])
@pytest.mark.parametrize(
    "used", ["try: it.nothing\nexcept AttributeError as no: print(no)", "from {} import *"]
)
def test_a_late_package_becomes_what_python_has(package: str, used: str) -> None:
    """The witness is a Python that knows nothing of it.

    Python 3.13 has private modules of metadata once a version was asked for, as psycopg does.
    """
    code = (
        f"import psycopg, {package} as it\n{used.format(package)}\n"
        "print(*sorted((name, repr(value)[:40].split(' at ')[0]) for name, value in vars(it).items()"
        " if not (name.startswith('__') or name in ('_adapters', '_text'))),"
        " *sorted(getattr(it, '__all__', [])), sep='\\n')"
    )
    assert python("-c", LATE + code) == python("-c", code)


def test_the_names_of_folders_say_the_version() -> None:
    asked = (
        "import psycopg, psycopg_binary, importlib.metadata as m\n"
        "print(psycopg.__version__, psycopg_binary.__version__, m.version('SQLAlchemy'))\n"
        "try: m.version('no-such-package')\n"
        "except m.PackageNotFoundError as error: print(repr(error))\n"
    )
    assert python("-c", LATE + asked) == python("-c", asked)


def test_a_second_version_beside_it_is_pythons_to_choose(tmp_path: Path) -> None:
    asked = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + (
        "import os\n"
        "for each in ('1.0', '2.0'):\n"
        "    folder = f'{sys.path[0]}/two_of_them-{each}.dist-info'\n"
        "    os.makedirs(folder, exist_ok=True)\n"
        "    open(folder + '/METADATA', 'w').write(f'Name: two-of-them\\nVersion: {each}\\n')\n"
        "import importlib.metadata as m\n"
        "print(m.version('two-of-them'))\n"
    )
    assert python("-c", LATE + asked) == python("-c", asked)


@RUNS_ASYNCIO
def test_the_asynchronous_half_of_psycopg_works(leadconnector: Prepared) -> None:
    code = f"""
import psycopg, asyncio, threading
assert "asyncio.base_events" not in sys.modules
threads = [threading.Thread(target=lambda: found.append(asyncio.run)) for _ in range(8)]
found = []
for each in threads: each.start()
for each in threads: each.join()
assert found == [asyncio.run] * 8
assert asyncio.Lock is asyncio.locks.Lock and psycopg.waiting.Future is asyncio.Future
async def main():
    async with await psycopg.AsyncConnection.connect({leadconnector.url!r}) as connection:
        cursor = await connection.execute("SELECT 42")
        print(await cursor.fetchone())
asyncio.run(main())
"""
    assert python("-c", LATE + code) == "(42,)\n"
