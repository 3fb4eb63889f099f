"""B7, D1 to D5, D9 and D11: values in recipes, in DeepSpeed's files and on the command line, and what is compared."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

from histories import write_run
from launching import start
from project import PROJECT
from rows import Judged, case
from run_bench import Bench, Done, apollo_ds, ended, first_wrong
from tiny_models import exported, write_separable

from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder


def plan(bench: Bench, *words: str) -> Done:
    """What `plan` says of the bench's recipe with these overrides."""
    return apollo_ds("plan", str(bench.recipe_file), f"out={bench.place / 'new'}", *words)


def _refuses_each(bench: Bench, wanted: dict[str, str]) -> Judged:
    """Whether `plan` refuses each of these overrides, separated by spaces, in a sentence that has these words."""
    assert plan(bench).code == 0
    done = None
    for overrides, words in wanted.items():
        done = plan(bench, *overrides.split())
        if not (done.refused and words in done.told):
            return done, False
    assert done is not None and not (bench.place / "new").exists()
    return done, True


def _from_file(bench: Bench, change: Callable[[str], str]) -> Done:
    recipe = bench.empty() / "recipe.yaml"
    recipe.write_text(change(bench.recipe_file.read_text()))
    return apollo_ds("plan", str(recipe))


@case("B7", "~ on the command line is the user's home")
def _(bench: Bench) -> Judged:
    home = Path(mkdtemp(prefix=".apollo-ds-rows-", dir=Path.home()))
    shutil.copytree(bench.text, home / "text")
    places = [f"{key}=~/{home.name}/{folder}" for key, folder in (("data", "text"), ("out", "run"))]
    try:
        done = apollo_ds("train", str(bench.recipe_file), "--ranks", "1", "steps=10", *places)
        return done, done.code == 0 and (home / "run" / "metrics.jsonl").is_file() and not (PROJECT / "~").exists()
    finally:
        shutil.rmtree(home)


@case("B7", "~, 2024-11-26 and no in a file are paths too")
def _(bench: Bench) -> Judged:
    places = {"~/text-that-is-nowhere": f"{Path.home()}/text-that-is-nowhere", "2024-11-26": "2024-11-26", "no": "no"}
    told = []
    for written, read in places.items():
        done = _from_file(bench, lambda text, path=written: text.replace(f"data: {bench.text}", f"data: {path}"))
        told.append(done if f"data: {read} holds no prepared text" in done.told else Done(done.code, "another path"))
    return first_wrong(told, lambda done: done.refused)


@case("B7", "equal keys in a mapping and in DeepSpeed's file")
def _(bench: Bench) -> Judged:
    nested = _from_file(bench, lambda text: text.replace("  hidden_size:", "  hidden_size: 7\n  hidden_size:"))
    file = bench.empty() / "zero.json"
    file.write_text('{"gradient_clipping": 1.0, "gradient_clipping": 0.5}')
    dones = [nested, plan(bench, f"deepspeed={file}")]
    return first_wrong(dones, lambda done: done.refused and "twice" in done.told)


@case("B7", "out=2024-11-26 and out=no are paths")
def _(bench: Bench) -> Judged:
    dones = (plan(bench, f"out={path}") for path in ("2024-11-26", "no", "1e3"))
    return first_wrong(dones, lambda done: done.code == 0)


@case("B7", "data=no is a path, at which there is no text")
def _(bench: Bench) -> Judged:
    return _refuses_each(bench, {"data=no": "data: no holds no prepared text"})


@case("B7", "a key that is in a recipe twice")
def _(bench: Bench) -> Judged:
    done = _from_file(bench, lambda text: f"{text}steps: 99\n")
    return done, done.refused and "steps" in done.told and "line" in done.told


@case("D1", "values of DeepSpeed's that its engine cannot use: plan refuses each")
def _(bench: Bench) -> Judged:
    return _refuses_each(
        bench,
        {
            "deepspeed.gradient_clipping=auto": "remove these keys",
            "deepspeed.zero_optimization.stage=9": "deepspeed.zero_optimization.stage: must be at most 3",
            "deepspeed.zero_optimization.stage=auto": "zero_optimization.stage",
            "deepspeed.fp16.enabled=maybe": "deepspeed.fp16.enabled: choose true or false",
            "deepspeed.bf16.enabled=true deepspeed.fp16.enabled=true": "both enabled",
            "deepspeed.fp16.enabled=true": "this machine has none",
        },
    )


@case("D1", "offloading to NVMe, where nothing else is wrong")
def _(bench: Bench) -> Judged:
    stage = "deepspeed.zero_optimization.stage=3 deepspeed.zero_force_ds_cpu_optimizer=false"
    keys = [f"deepspeed.zero_optimization.{part}.device" for part in ("offload_optimizer", "offload_param")]
    done, right = _refuses_each(bench, {f"{stage} {key}=nvme": f"{key}: choose one of none, cpu" for key in keys})
    return done, right and all(plan(bench, *stage.split(), f"{key}=cpu").code == 0 for key in keys)


@case("D1", "a file for the Trainer of transformers: one sentence tells all keys")
def _(bench: Bench) -> Judged:
    file = bench.empty() / "zero.json"
    zero = '"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}'
    file.write_text(f'{{"gradient_clipping": "auto", "optimizer": {{"params": {{"lr": "auto"}}}}, {zero}}}')
    return _refuses_each(
        bench, {f"deepspeed={file}": "gradient_clipping, optimizer, zero_optimization.reduce_bucket_size"}
    )


@case("D2", "numbers that would train nonsense, and keys that DeepSpeed does not have: plan refuses each")
def _(bench: Bench) -> Judged:
    values = {
        "deepspeed.gradient_clipping": ("-1", ".nan", ".inf", "1e-300"),
        "deepspeed.fp16.loss_scale": (".nan",),
        "adam_epsilon": (".inf", ".nan"),
        "learning_rate": (".nan",),
        "weight_decay": ("-1",),
        "adam_betas": ("[0.9,1.5]",),
    }
    keys = ("deepspeed.nonsense", "deepspeed.zero_optimisation")
    numbers = {f"{key}={value}": f"command line: {key}" for key, given in values.items() for value in given}
    return _refuses_each(bench, {**numbers, **{f"{key}=1": f"unknown key {key}" for key in keys}})


@case("D2", "an unknown key of DeepSpeed's gets the nearest name")
def _(bench: Bench) -> Judged:
    return _refuses_each(bench, {"deepspeed.gradient_cliping=1": "did you mean deepspeed.gradient_clipping?"})


def _cut(bench: Bench) -> Path:
    folder = bench.empty() / "text"
    shutil.copytree(bench.text, folder)
    os.truncate(folder / "train.bin", 100)
    return folder


@case("D3", "plan refuses what training would: the folder of text, the vocabulary, options in vain, ranks")
def _(bench: Bench) -> Judged:
    return _refuses_each(
        bench,
        {
            "data=/nowhere/text": "/nowhere/text holds no prepared text",
            f"data={_cut(bench)}": "train.bin: missing or damaged",
            "model.vocab_size=30522": "set model.vocab_size=300",
            "method=sprout method.first_layers=9": "method.first_layers: 9 are all of the model's 6 layers",
            "method=sprout method.noise=0.5": "method.noise: 0.5 has no effect here",
            "--ranks 0": "--ranks: must be at least 1",
            "--ranks 3": "3 ranks do not divide 8",
        },
    )


@case("D4", "a mistake on the command line is said to stand there, and the nearest name is told")
def _(bench: Bench) -> Judged:
    wrong = {"stpes=3": "steps", "model.num_layer=6": "model.num_layers", "method=appolo": "apollo"}
    done, right = _refuses_each(bench, {word: f"did you mean {near}?" for word, near in wrong.items()})
    return done, right and "apollo-ds: command line: " in done.told


@case("D4", "a mistake in a file is said to stand there")
def _(bench: Bench) -> Judged:
    done = _from_file(bench, lambda text: text.replace("\nsteps:", "\nstpes:"))
    return done, done.refused and "recipe.yaml: unknown key stpes; did you mean steps?" in done.told


@case("D4", "method=scratch in the folder of a sprout run")
def _(bench: Bench) -> Judged:
    out = bench.empty() / "run"
    RunFolder(out).create(load_recipe(bench.recipe_file, ["method=sprout", f"out={out}"]))
    done = apollo_ds("plan", str(bench.recipe_file), "method=scratch", f"out={out}")
    return done, done.refused and "method sprout, not scratch" in done.told


@case("D5", "a number of 5,000 digits, brackets 5,000 deep, a name of 256 bytes, out on a file")
def _(bench: Bench) -> Judged:
    return _refuses_each(
        bench,
        {
            f"steps={'9' * 5000}": "5,000 digits",
            f"adam_betas={'[' * 5000}": "deep",
            f"out={bench.place / ('x' * 256)}": "the name is too long",
            f"out={bench.recipe_file}": "recipe.yaml is a file",
        },
    )


@case("D5", "train out=/proc/mine")
def _(bench: Bench) -> Judged:
    done = apollo_ds("train", str(bench.recipe_file), "out=/proc/mine")
    return done, done.refused and "/proc/mine" in done.told


@case("D5", "a recipe 5,000 deep, and one whose aliases make megabytes: the sentence is short")
def _(bench: Bench) -> Judged:
    nine = [", ".join([f"*a{number - 1}" if number else "x"] * 9) for number in range(9)]
    bomb = "".join(f"a{number}: &a{number} [{inside}]\n" for number, inside in enumerate(nine))
    dones = [_from_file(bench, lambda text, more=more: text + more) for more in (f"x: {'[' * 5000}\n", bomb)]
    return first_wrong(dones, lambda done: done.refused and len(done.output) < 1000)


@case("D5", "a DeepSpeed file 5,000 deep")
def _(bench: Bench) -> Judged:
    file = bench.empty() / "zero.json"
    file.write_text('{"a":' * 5000 + "1" + "}" * 5000)
    return _refuses_each(bench, {f"deepspeed={file}": "nested more than 40 deep"})


@case("D5", "WORLD_SIZE=0, RANK=abc")
def _(bench: Bench) -> Judged:
    words = [sys.executable, "-m", "apollo_ds", "train", str(bench.recipe_file), f"out={bench.place / 'new'}"]
    dones = [
        ended(start("env", *variables, *words))
        for variables in (["RANK=0", "LOCAL_RANK=0", "WORLD_SIZE=0"], ["RANK=abc", "LOCAL_RANK=0", "WORLD_SIZE=2"])
    ]
    return first_wrong(dones, lambda done: done.refused)


@case("D5", "output that nobody reads: apollo-ds keys | true, plan | head -1")
def _(bench: Bench) -> Judged:
    dones = []
    for words, reader in ((["keys"], "true"), (["plan", str(bench.recipe_file)], "head -1")):
        piped = ["bash", "-c", f'"$@" | {reader}; exit ${{PIPESTATUS[0]}}', "-", sys.executable, "-m", "apollo_ds"]
        dones.append(ended(start(*piped, *words)))
    return first_wrong(dones, lambda done: done.code == 0 or done.refused)


@case("D9", '"label": null among the rows to fine-tune on')
def _(bench: Bench) -> Judged:
    task = bench.empty() / "task"
    write_separable(task, train=8, dev=8)
    (task / "train.tsv").unlink()
    (task / "train.jsonl").write_text('{"sentence": "a cat", "label": 1}\n{"sentence": "a dog", "label": null}\n')
    done = apollo_ds("finetune", str(exported("bert")), "--task", "sst2", "--data", str(task), "--seeds", "1")
    return done, done.refused and "line 2" in done.told


@case("D9", "export from another directory than the run was trained in")
def _(bench: Bench) -> Judged:
    bench.begin()
    words = f"PYTHONPATH={PROJECT} {sys.executable} -m apollo_ds"
    run, model = bench.empty() / "run", bench.place / "case" / "model"
    trained = f"cd {bench.place} && {words} train recipe.yaml data=text out={run} steps=10 --ranks 1"
    exported_from = f"cd / && {words} export {run} {model}"
    dones = [ended(start("bash", "-c", command)) for command in (trained, exported_from)]
    advised = f"run the command in {bench.place}" in dones[1].told
    return dones[1], dones[0].code == 0 and (dones[1].code == 0 or (dones[1].refused and advised))


@case("D11", "compare gives no saving where nothing was learned, and says that one seed is one")
def _(bench: Bench) -> Judged:
    dones = []
    for entropy in (1.5, 2.5):
        folder, losses = bench.empty(), [(40, 4.0), (80, 2.5), (100, 2.0)]
        start_ = {"unigram_entropy": entropy}
        runs = [str(write_run(folder / name, losses, name, start=start_)) for name in ("scratch", "apollo")]
        dones.append(apollo_ds("compare", *runs))
    nothing, one_seed = dones
    right = "nothing was learned" in nothing.output and "saving S" not in nothing.output
    return nothing, right and "Of one seed" in one_seed.output and nothing.code == one_seed.code == 0


@case("D11", "compare with names of 900 letters writes its page and figures")
def _(bench: Bench) -> Judged:
    long = bench.empty()
    for name in ("a", "b"):
        write_run(long / name, [(40, 4.0), (80, 2.5), (100, 2.0)], "apollo" + ",method.growth_map=stack" * 40 + name)
    done = apollo_ds("compare", str(long / "a"), str(long / "b"), "--out", str(long / "page"))
    return done, done.code == 0 and (long / "page" / "compare.md").is_file()
