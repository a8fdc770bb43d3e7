"""Hundreds of damaged folders: whatever is in them, reading works or says why not, and nothing leads out of them.

All runs in a process of its own, where every file that is opened and every event of note is watched.
"""

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

import paretomtl as pm
from paretomtl.selection.rules import Knee
from paretomtl.show import report
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.chance import DAMAGE
from tests.damage import explored
from tests.limits import limit

ROOT = Path(pm.__file__).parents[1]
OLD = ROOT / "tests" / "old_fronts" / "schema-1"
N = 250
FORBIDDEN = {"pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
# --- what is then done with it ---


def read(folder, k, asked):
    """The steps of reading, each by its name; and of going on with what was asked for."""
    yield "verify", lambda: str(verify(folder))
    found = []
    yield "load", lambda: found.append(pm.Front.load(folder))
    yield from look(found[0], k) if found else ()
    if k % 5 == 0:
        yield "explore", lambda: explored(folder, **asked)
    elif k % 5 == 1:
        yield "restore", lambda: restored(Store(folder))


def look(front, k):
    """The steps of looking at a front that was loaded."""
    yield "table", lambda: (front.table(), front.warnings(), repr(front), len(front))
    yield "score", lambda: (str(front.score()), front.hypervolume())
    yield "knee", lambda: front.select(Knee())
    yield "best", lambda: front.select(best="a", subject_to={"b": 1.0})
    yield "tradeoff", lambda: (front.tradeoff(), front.spread())
    for point in front.every:
        yield "load_model", lambda point=point: front.load_model(point, toys.TwoHeads)
    yield "model_at", lambda: front.model_at([0.5, 0.5], toys.TwoHeads, seed=k % 2)
    yield "report", lambda: (report.format_report(front), report.report_as_json(front))
    if k % 50 == 0:
        yield "plot", lambda: front.plot(front.folder.parent / "scratch" / "figure.svg")


def restored(store):
    store.restore()
    points = [p for p in store.read_points() if store.is_whole(p)]
    store.write_front(points)
    store.log("restored", n=len(points))
    assert verify(store.folder) is not None


def fault_of(step):
    """What is wrong with how a step ended; None where it worked or said why not."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            step()
    except (ValueError, OSError) as error:
        return None if str(error).strip() else f"{type(error).__name__} without a message"
    except Exception as error:
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        return f"{type(error).__name__}: {error} ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})"
    return None


def main(scratch, first, n):
    """Damage n folders and read them; all that is wrong, one line each."""
    now, events = [None], []

    def hook(event, arguments):
        if now[0] is not None and not event.startswith(("object.", "sys.", "gc.", "code.", "ctypes.", "builtins.id")):
            events.append((event, arguments))

    warnings.simplefilter("ignore")
    several = {"preferences": 3, "seeds": 2}
    network = {"front_model": pm.LowRank(rank=1)}
    bases = [(scratch / "one", {}), (scratch / "seeds", several), (scratch / "network", network), (OLD, {})]
    explored(scratch / "seeds", **several)
    explored(scratch / "network", **network).model_at([0.5, 0.5], toys.TwoHeads)
    explored(scratch / "one").plot(scratch / "warm.svg")  # what libraries do once is not watched
    sys.addaudithook(hook)
    ended, told = Counter(), []
    for k in range(first, first + n):
        dice = random.Random(k)
        here = scratch / str(k)
        folder = here / "front"
        base, asked = bases[k // 5 % len(bases)]
        shutil.copytree(base, folder)
        (here / "outside").mkdir()
        (here / "scratch").mkdir()
        (here / "outside" / "file").write_bytes(b"{}")
        done = []
        for damage in dice.choices(DAMAGE, k=dice.choice([1, 1, 2, 3])):
            with contextlib.suppress(OSError, IndexError, ValueError, RecursionError):
                damage(folder, dice)
                done.append(damage.__name__)
        for name, step in read(folder, k, asked):
            now[0] = name
            fault = fault_of(step)
            now[0] = None
            ended[name] += 1
            if fault:
                told.append(f"{k} {'+'.join(done)}: {name}: {fault}")
            told += [f"{k} {'+'.join(done)}: {name}: {text}" for text in led_out(events, folder, here)]
            events.clear()
        if [p.read_bytes() for p in (here / "outside").iterdir()] != [b"{}"]:
            told.append(f"{k}: something outside was written")
        shutil.rmtree(here)
    print(json.dumps([dict(ended), told]))


def led_out(events, folder, here):
    """Of the events, those that reading a folder has no business to cause."""
    allowed = (str(folder), str(here / "scratch"), os.devnull)
    for event, arguments in events:
        texts = [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
        if event == "open" and isinstance(arguments[0], int):
            continue  # a file that was opened by its path before
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in FORBIDDEN or (event == "import" and any(text.startswith(str(here)) for text in texts[1:2])):
            yield f"{event} {texts[:3]}"
        elif event == "open" and texts[0].startswith(str(here / "outside")):
            yield f"reads {texts[0]}"
        elif (writes or event in CHANGES or "shutil" in event) and not all(
            text.startswith(allowed) for text in (texts[:1] if writes else texts)
        ):
            yield f"{event} {texts[:3]}"


@pytest.mark.fault(77)
@pytest.mark.fault(78)
@pytest.mark.fault(81)
@pytest.mark.fault(85)
@pytest.mark.fault(86)
@pytest.mark.parametrize("first", [0, pytest.param(N, marks=pytest.mark.slow)])
def test_damaged_folders(tmp_path, first):
    command = [sys.executable, "-m", "tests.paretomtl.storage.test_fuzz", str(tmp_path)]
    run = subprocess.run([*command, str(first), str(N)], cwd=ROOT, capture_output=True, text=True, timeout=limit(300))
    assert run.returncode == 0, run.stderr
    ended, told = json.loads(run.stdout.splitlines()[-1])
    assert not told, "\n".join(told)
    assert ended["verify"] == N
    assert min(ended[step] for step in ("load_model", "knee", "best", "table", "score")) > N / 2
    assert min(ended[step] for step in ("explore", "restore")) >= N / 5
    assert ended["plot"] > 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
