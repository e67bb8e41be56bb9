"""How a run continues: the options that it had, its directory, its checkpoint."""

import contextlib
import hashlib
import json
import math
import signal
import sys
from pathlib import Path

import torch

from support.files import check_path, hold_lock, reading, say, write_json

ROOT = Path(__file__).resolve().parent.parent
RESTORE = "restore it, or delete the run"
# Options that change no result, and what a run keeps a list of
MAY_DIFFER = {"run_dir", "data_dir", "cache_dir", "device", "hardware", "code", "cuda_graph"}
MAY_DIFFER |= {"snapshots", "log_every", "checkpoint_every"}


def parse(parser, script):
    """The options of a script, a path. One that is not given is that of the run in --run-dir.

    Exits with one line where a number is not finite or negative, or what is counted is below 1.
    """
    args = parser.parse_args()
    method = Path(script).stem
    run_dir = args.run_dir or f"runs/{args.dataset}__{method}__{args.seed}"
    check_path("--run-dir", run_dir)
    found = read_arguments(Path(run_dir))
    defaults = {name: found[name] for name in vars(args) if name in found}
    # The machine may be another one
    parser.set_defaults(**defaults | {"run_dir": run_dir, "device": "auto"})
    args = parser.parse_args()

    for name, value in vars(args).items():
        option = f"--{name.replace('_', '-')} is {value}"
        if type(value) is float and not 0 <= value < math.inf:
            sys.exit(f"error: {option}, expected a number of at least 0")
        if type(value) is int and name not in ("num_tasks", "seed") and value < 1:
            sys.exit(f"error: {option}, expected a whole number of at least 1")
    if not 0 <= args.seed < 2**32:
        sys.exit(f"error: --seed is {args.seed}, expected 0 to {2**32 - 1}")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    args.method = method
    # Eight digits that tell versions of the code apart
    files = [Path(script), ROOT / "common.py", *sorted(ROOT.glob("support/[!.]*.py"))]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    args.code = hashlib.sha256(code.encode()).hexdigest()[:8]
    return args


def read_arguments(directory):
    """What args.json holds; an empty dict where there is none."""
    path = directory / "args.json"
    absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with absent, reading(path, RESTORE):
        return dict(json.loads(path.read_text()))
    return {}


def hold_directory(directory, args, at_end):
    """Make and lock the directory of a run, and write or compare its args.json.

    at_end: an ExitStack, which unlocks. Exits with one line where another run lies there.
    """
    where = f"--run-dir {directory}"
    for folder in ("samples", "snapshots"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    try:
        at_end.enter_context(hold_lock(directory / "lock"))
    except BlockingIOError:
        sys.exit(f"error: {where} is in use by another process; choose another")

    given = vars(args)
    found = read_arguments(directory)
    checkpoint = directory / "checkpoint.pt"
    saved = len(list(directory.glob("task_*.pt")))
    if saved and not checkpoint.exists():
        # They would pass for generators of the run that begins
        left = f"{where} holds saved generators ({saved}), but no checkpoint.pt to continue from"
        sys.exit(f"error: {left}; restore it, or choose another, or delete the run")
    if not found:
        if checkpoint.exists():
            sys.exit(f"error: {checkpoint} has no args.json beside it; restore it, or delete both")
        write_json(directory / "args.json", given)
        return
    advice = "choose another, or delete the run"
    if found.get("method") != args.method:
        sys.exit(f"error: {where} holds a run of {found.get('method')}.py; {advice}")
    if found.keys() != given.keys():
        options = ", ".join(sorted(found.keys() ^ given.keys()))
        sys.exit(f"error: {where} holds a run by other code, which differs in {options}; {advice}")
    differing = []
    for name in sorted(given.keys() - MAY_DIFFER):
        if given[name] != found[name]:
            differing.append(f"{name}: {found[name]} there, {given[name]} here")
    if differing:
        sys.exit(f"error: {where} holds another run ({'; '.join(differing)}); {advice}")

    # A run names every machine and every code that it has had
    if args.code not in found["code"]:
        changed = f"{args.method}.py, common.py or support/ has changed since {where} began"
        say(f"warning: {changed}; if that changes what is learned, delete the run to begin anew")
    had = {name: found[name].split(", then ") for name in ("hardware", "code")}
    more = {name: ", then ".join(dict.fromkeys([*had[name], given[name]])) for name in had}
    if found | more != found:
        write_json(directory / "args.json", found | more)


def read_checkpoint(path):
    """The last checkpoint of a run, or its beginning."""
    state = {"task": 0, "step": 0, "elapsed": 0.0, "log_bytes": 0}
    state |= {"networks": {}, "optimizers": []}
    if not path.exists():
        return state
    with reading(path, RESTORE):
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {name: found[name] for name in state}


def load_networks(directory, saved, networks):
    """Give modules the weights that a checkpoint saved under their names.

    Exits with one line if it has others, by code that has changed since.
    """
    path = directory / "checkpoint.pt"
    if saved.keys() != networks.keys():
        found = f"{path} holds {', '.join(saved)}, expected {', '.join(networks)}"
        sys.exit(f"error: {found}; delete the run to begin anew")
    with reading(path, RESTORE):
        for name, weights in saved.items():
            networks[name].load_state_dict(weights)


def catch_signals(at_end, processes):
    """A list to which a signal is added that asks a run to stop; the same again stops it at once.

    Ctrl-C, a scheduler's signals, a closed terminal; one that is ignored stays so. Several
    processes would have to stop at the same step, so there a signal ends them at once. at_end: an
    ExitStack, which gives the signals back.
    """
    caught = []

    def keep(number, frame):
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows lacks two of them
        if processes == 1 and number and signal.getsignal(number) != signal.SIG_IGN:
            at_end.callback(signal.signal, number, signal.signal(number, keep))
    return caught


def introduce(args, begin):
    """Say what a run is, and where it begins."""
    other = "short" if args.schedule == "paper" else "paper"
    rates = f"learning rate {args.learning_rate:g}, {args.critic_steps} critic steps"
    say(f"{args.method}: {args.num_tasks} tasks of {args.iters} steps, seed {args.seed}")
    say(f"schedule: {args.schedule} ({rates}); the other one: --schedule {other}")
    say(f"{args.device} ({args.hardware}), processes: {args.processes}, amp: {args.amp}")
    say(f"results: {args.run_dir}, beginning at {begin}")
