"""Planted bugs, one at a time in a copy of the source: does the part of the suite that should notice fail?

``python tests/faults/seeded.py [NAME...]`` from the project's root. A line for each: its name, caught or MISSED, the
first test that failed, seconds. Exit 1 where more than 1 in 15 are missed (2 of 30), 2 where a test that caught one
fails without a fault as well.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "brittle"
LIMIT = 600  # seconds for the tests of one fault
SPARED = 15  # one fault in so many may be missed


class Fault(NamedTuple):
    """``old`` stands in ``file`` (below src/brittle) exactly once and becomes ``new``; one of ``tests`` (below tests)
    must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


THREAT, ASCENT, APGD = (
    ("types/test_threat.py",),
    ("attacks/test_ascent.py",),
    ("attacks/test_apgd.py", "oracles/test_apgd_oracle.py"),
)
DENSE = ("contracts/test_task_contract.py", "tasks/test_tasks.py", "oracles/test_dense_oracle.py")
CLIMBED = ("objectives/test_objectives.py", "oracles/test_dense_oracle.py")
MEASURED = ("evaluation/test_measure.py",)

WORKERS = ["launch/test_workers.py"]

FAULTS = (
    # --- what goes wrong
    Fault(
        "small-masks-thinned-to-nothing",
        "evaluation/probe.py",
        "row % height :: every, column % width :: every",
        "row::every, column::every",
        ("faults/test_refused_first.py",),
    ),
    Fault(
        "too-few-classes-found-late",
        "evaluation/inspection.py",
        "if count < needed:",
        "if count < 0:",
        ("faults/test_refused_first.py",),
    ),
    Fault(
        "members-of-an-ensemble-refused",
        "evaluation/inspection.py",
        "for inner in () if part.traits.members else part.parts:",
        "for inner in part.parts:",
        ("faults/test_refused_first.py",),
    ),
    Fault(
        "a-mask-turned-and-its-image-not",
        "types/target.py",
        "tuple(target.shape[-2:]) != tuple(size)",
        "target[0].numel() * len(target) == 0",
        ("faults/test_refused_first.py",),
    ),
    # --- several workers
    Fault(
        "a-cell-is-taken-before-the-one-it-continues-from",
        "launch/parts/worker.py",
        "if work.earlier.get(name) not in left",
        "if True",
        WORKERS,
    ),
    Fault(
        "two-workers-at-one-batch",
        "launch/parts/cell.py",
        "with self.store.claim(f\"{self.name}-{files.sha256(' '.join(ids))[:12]}\", wait=wait):",
        "if True:",
        WORKERS,
    ),
    Fault(
        "a-cell-that-kills-is-tried-for-ever",
        "results/attempts.py",
        'f"{before + 1} {written}".encode()',
        'f"{before} {written}".encode()',
        WORKERS,
    ),
    Fault(
        "a-stop-counts-as-a-death",
        "results/attempts.py",
        """        raise
    finally:
        if as_before:
            files.write_whole(path, as_before)
        else:
            path.unlink(missing_ok=True)""",
        """        raise
    path.unlink(missing_ok=True)""",
        WORKERS,
    ),
    Fault(
        "others-try-what-failed-again",
        "launch/parts/cell.py",
        "if others and store.failed(name):",
        "if False:",
        WORKERS,
    ),
    Fault(
        "nobody-helps",
        "launch/parts/cell.py",
        "if not work.large(name):",
        "if True:",
        WORKERS,
    ),
    Fault(
        "half-a-line-of-a-journal-is-lost",
        "results/journal.py",
        'data[: data.rfind(b"\\n") + 1]',
        "data",
        WORKERS,
    ),
    Fault(
        "heads-are-waited-for",
        "evaluation/heads.py",
        'get_or_make("heads", _key(resolved, rule), fit, wait=machine.alone)',
        'get_or_make("heads", _key(resolved, rule), fit, wait=True)',
        WORKERS,
    ),
    # --- what is installed
    Fault(
        "a-bad-version-is-passed-over",
        "core/installed.py",
        'Bad("torch<2.10"',
        'Bad("torch<2.9"',
        ["core/test_installed.py"],
    ),
    Fault(
        "a-name-that-is-not-ours-is-told",
        "core/installed.py",
        "pip install -c constraints.txt '.[{extra}]'",
        "pip install 'brittle[{extra}]'",
        ["core/test_installed.py"],
    ),
    # --- what runs share
    Fault(
        "prune-takes-what-was-used-last",
        "evaluation/upkeep.py",
        "key=lambda file: file.used)",
        "key=lambda file: -file.used)",
        ["evaluation/test_upkeep.py"],
    ),
    Fault(
        "prune-enters-a-folder-that-became-a-link",
        "evaluation/upkeep.py",
        "way | os.O_NOFOLLOW",
        "way",
        ["evaluation/test_upkeep.py"],
    ),
    Fault(
        "rendered-scenes-that-are-read-count-as-unused",
        "datasets/scenes.py",
        "            files.used(path)\n",
        "",
        ["evaluation/test_upkeep.py"],
    ),
    # --- images and classes behind a number
    Fault(
        "classes-that-lost-least-come-first",
        "reports/parts/distributions.py",
        "pair[1].value - pair[0].value",
        "pair[0].value - pair[1].value",
        ["reports/test_distributions.py"],
    ),
    Fault(
        "quartiles-one-image-too-high",
        "reports/parts/distributions.py",
        "ordered[math.ceil(count * share) - 1]",
        "ordered[min(math.ceil(count * share), count - 1)]",
        ["reports/test_distributions.py"],
    ),
    # --- the gallery
    Fault(
        "gallery-holds-the-worst-of-the-last-only",
        "evaluation/gallery.py",
        "insort(self._worst, held, key=lambda held: -held.damage)",
        "self._worst.insert(0, held)",
        ["evaluation/test_gallery.py"],
    ),
    Fault(
        "gallery-fits-its-basis-on-attacked-tokens",
        "evaluation/drawing.py",
        "rows = seen(clean)",
        "rows = seen(attacked)",
        ["evaluation/test_gallery.py"],
    ),
    Fault(
        "page-shows-weak-attacks-first",
        "reports/parts/answer.py",
        "while (best := strongest(rest)) is not None:",
        "while (best := next(iter(rest), None)) is not None:",
        ["reports/test_html.py"],
    ),
    # --- the paper's protocol
    Fault(
        "quirks-attack-the-standard-model",
        "evaluation/quirks.py",
        'if masks and "double_softmax" in quirks:',
        'if depth and "double_softmax" in quirks:',
        ["evaluation/test_quirks.py"],
    ),
    Fault(
        "background-counts",
        "evaluation/quirks.py",
        "target.masked_fill(target == background, VOID)",
        "target",
        ["evaluation/test_quirks.py"],
    ),
    Fault(
        "embed-moves-the-pooled-feature-alone",
        "objectives/embedding.py",
        "return [parts[name] for name in model.reads]",
        'return [parts["pooled"]]',
        ["attacks/test_embed.py"],
    ),
    # --- what strangers ran into
    Fault(
        "what-cannot-be-read-takes-nothing",
        "evaluation/disk.py",
        'unknown.setdefault(str(error), f"{encoder} on {dataset}")',
        "del error",
        ["evaluation/test_disk_needs.py"],
    ),
    Fault(
        "damaged-images-are-taken",
        "core/files.py",
        "if not path.is_file() or sha256_of_file(path) != seal]",
        "if not path.is_file()]",
        ["evaluation/test_asked_again.py"],
    ),
    Fault(
        "other-cells-stay-as-they-were",
        "api/running.py",
        "{**_as_they_are_now(store.others(cells)), **cells}",
        "cells",
        ["evaluation/test_asked_again.py"],
    ),
    Fault(
        "rows-mix-weights",
        "reports/parts/layout.py",
        "*filter(None, [origins[result.id]])",
        "",
        ["evaluation/test_asked_again.py"],
    ),
    Fault(
        "snapshots-in-the-order-of-their-names",
        "reports/parts/histories.py",
        "(one[0].step, one[1].cell.encoder)",
        "one[1].cell.encoder",
        ["reports/test_history_report.py"],
    ),
    Fault(
        "an-axis-stops-at-the-first-budget",
        "reports/parts/figures.py",
        "            draw(axes, panel, looks)\n",
        "            draw(axes, panel, looks)\n            axes.set_ylim(bottom=0)\n",
        ["reports/test_history_report.py"],
    ),
    Fault(
        "the-weakest-attack-is-the-answer-where-lower-is-better",
        "reports/parts/answer.py",
        'value(each) if each.task["higher_is_better"] else -value(each)',
        "value(each)",
        ["reports/test_html.py"],
    ),
    Fault(
        "a-failed-check-does-not-count",
        "reports/parts/answer.py",
        "[result for result in looking if trusted(result)] or looking",
        "looking",
        ["reports/test_html.py"],
    ),
    Fault(
        "a-plot-of-clean-against-clean",
        "reports/parts/plots.py",
        "axes.plot(x.value, y.value, **mark",
        "axes.plot(x.value, x.value, **mark",
        ["reports/test_plot.py"],
    ),
    Fault(
        "the-hub-is-told-what-failed-a-check",
        "reports/card.py",
        "if answer.trusted(result):",
        "if result.failed is None:",
        ["reports/test_card.py"],
    ),
    Fault(
        "an-image-beside-the-clean-one-of-other-data",
        "reports/parts/partners.py",
        '("weights_sha256", "data_sha256"))',
        '("weights_sha256", "weights_sha256"))',
        ["results/test_per_image.py"],
    ),
    Fault(
        "a-leaderboard-mixes-protocols",
        "reports/parts/board.py",
        "groups.setdefault((result.cell.protocol, images, version), {})",
        'groups.setdefault(("", images, version), {})',
        ["reports/test_leaderboard.py"],
    ),
    Fault(
        "a-leaderboard-names-data-by-their-place",
        "reports/parts/board.py",
        "first.setdefault(data or cell.dataset, _bare(cell.dataset))",
        "_bare(cell.dataset)",
        ["reports/test_leaderboard.py"],
    ),
    Fault(
        "best-by-digit",
        "results/leaders.py",
        "_p(best, each, folders) * pairs >= LEVEL",
        "_p(best, each, folders) >= 1",
        ["reports/test_latex.py"],
    ),
    Fault(
        "the-best-is-tested-as-if-it-was-known-before",
        "results/leaders.py",
        "pairs = comb(len(sound), 2)",
        "pairs = comb(len(sound), 0)",
        ["reports/test_latex.py"],
    ),
    Fault(
        "names-are-elements-of-the-page",
        "reports/parts/template.py",
        "autoescape=True",
        "autoescape=False",
        ["reports/test_html.py"],
    ),
    Fault(
        "a-scatter-of-clean-against-clean",
        "reports/parts/svg.py",
        "up.at(point.y.value), point.y)",
        "up.at(point.x.value), point.y)",
        ["reports/test_html.py"],
    ),
    Fault(
        "two-processes-note-at-once",
        "results/store.py",
        'with self.claim("current"):  # another',
        "if True:  # another",
        ["results/test_store.py"],
    ),
    Fault(
        "one-class-alone",
        "evaluation/subset.py",
        "sorted(drawn, key=ranks.__getitem__)[:limit]",
        "drawn[:limit]",
        ["evaluation/test_subset.py"],
    ),
    Fault(
        "a-limit-of-old-images",
        "planning/identity.py",
        '{"subset": SUBSET_VERSION} if',
        '{"subset": 1} if',
        ["planning/test_plan.py"],
    ),
    Fault(
        "images-change-unnoticed",
        "evaluation/measure.py",
        '    heads.check_unchanged(resolved, "test")\n',
        "",
        ["evaluation/test_measure.py"],
    ),
    Fault(
        "a-difference-in-one-row-of-many",
        "reports/parts/comparison.py",
        "not comparison.p_holm < LEVEL",
        "not comparison.paired.p < LEVEL",
        ["results/test_compare.py"],
    ),
    Fault(
        "less-is-never-better",
        "reports/parts/comparison.py",
        'sign = -1 if comparison.a.task["higher_is_better"] else 1',
        "sign = -1",
        ["results/test_compare.py"],
    ),
    Fault(
        "what-is-left-goes-by-the-number-of-cells",
        "core/progress.py",
        "rates[cost > 0] * (cost or 1) for cost",
        "rates[cost > 0] for cost",
        ["core/test_progress.py"],
    ),
    Fault(
        "any-page-is-taken-for-a-site",
        "results/site.py",
        "MARK.encode() not in path.read_bytes()[:2000]",
        'path.suffix != ".html"',
        ["reports/test_leaderboard.py"],
    ),
    Fault(
        "an-empty-option-after-an-equals-sign-is-let-through",
        "cli/__init__.py",
        'if not each or re.fullmatch("--[a-z-]+=", each):',
        "if not each:",
        ["cli/test_strange_worlds.py"],
    ),
    Fault(
        "tables-stand-side-by-side-in-a-pipe",
        "reports/parts/terminal.py",
        'or "COLUMNS" in os.environ else 0',
        'or "COLUMNS" in os.environ else WIDTH',
        ["reports/test_reports.py"],
    ),
    Fault(
        "an-interval-is-broken-over-two-lines",
        "core/text.py",
        'found[0].replace(" ", "\\xa0")',
        "found[0]",
        ["core/test_progress.py"],
    ),
    Fault(
        "an-interval-that-begins-at-one",
        "reports/parts/wording.py",
        "min(low, 0.999) if low < 1 else low",
        "low",
        ["reports/test_reports.py"],
    ),
    Fault(
        "names-are-markup",
        "core/progress.py",
        "highlight=False, markup=False",
        "highlight=False",
        ["core/test_text.py"],
    ),
    Fault(
        "escape-codes-in-errors",
        "cli/__init__.py",
        "{plain(' '.join(str(error).split()))}",
        "{' '.join(str(error).split())}",
        ["cli/test_strange_worlds.py"],
    ),
    Fault(
        "output-that-is-no-utf8",
        "cli/__init__.py",
        "    printable_output()\n",
        "",
        ["cli/test_strange_worlds.py"],
    ),
    # --- what is read
    Fault(
        "void-is-255-whatever-the-classes",
        "types/target.py",
        "return 255 if classes <= 255 else 65535",
        "return 255",
        ["types/test_seen.py"],
    ),
    Fault(
        "hidden-files-are-images",
        "datasets/parts/walk.py",
        'return name.startswith(".") or name.lower() in LEFT_BEHIND',
        "return False",
        ["datasets/test_messy.py"],
    ),
    Fault(
        "links-are-followed-for-ever",
        "datasets/parts/walk.py",
        "if here in above:",
        "if len(above) > 12:",
        ["datasets/test_messy.py"],
    ),
    Fault(
        "float-images-are-cut",
        "types/image_files.py",
        "white = 1 if high <= 1 else 255",
        "white = 255",
        ["types/test_image_files.py"],
    ),
    Fault(
        "masks-of-two-bits-are-stretched",
        "types/image_files.py",
        '{"L;2": 85, "L;4": 17}',
        "{}",
        ["types/test_image_files.py"],
    ),
    Fault(
        "outputs-of-a-network-in-their-own-order",
        "types/network.py",
        "return logits[:, list(self.outputs)]",
        "return logits[:, : len(self.outputs)]",
        ["models/test_class_map.py"],
    ),
    Fault(
        "relative-depth-is-not-aligned",
        "tasks/depth.py",
        "scale * resized(prediction, truth.shape[-2:]) + shift",
        "resized(prediction, truth.shape[-2:])",
        ["tasks/test_alignment.py"],
    ),
    Fault(
        "a-network-without-a-gradient-is-attacked",
        "types/network.py",
        "if not prediction.requires_grad:",
        "if False:",
        ["models/test_networks_py.py"],
    ),
    Fault(
        "pixels-of-other-than-255-to-a-processor",
        "models/parts/processed.py",
        "images=list(images * 255)",
        "images=list(images)",
        ["models/test_networks_hf.py"],
    ),
    Fault(
        "unscored-depth-is-not-said",
        "types/seen.py",
        "if share > MOST_UNSCORED:",
        "if share > 1:",
        ["types/test_seen.py"],
    ),
    Fault(
        "training-masks-are-not-looked-at",
        "evaluation/inspection.py",
        "for split in splits[:-1]:\n                _fitted_on(",
        "for split in ():\n                _fitted_on(",
        ["cli/test_targets_first.py"],
    ),
    Fault(
        "frames-of-8-bits-as-millimetres",
        "datasets/parts/nyu_frames.py",
        "STEP if numbers.max() < 256 else 0.001",
        "0.001",
        ["datasets/test_nyu.py"],
    ),
    Fault(
        "parts-of-a-scene-on-both-sides",
        "datasets/parts/nyu_frames.py",
        "match[1] if (match := SCENE.fullmatch(folder)) else folder",
        "folder",
        ["datasets/test_nyu.py"],
    ),
    Fault(
        "a-published-depth-head-is-upsampled-after-its-relu",
        "tasks/depth.py",
        "return self._summed(_finer(scores))",
        "return _finer(self._summed(scores))",
        ["tasks/test_head_files.py"],
    ),
    Fault(
        "layers-of-a-published-depth-head-are-mixed",
        "tasks/depth.py",
        "by_layer.transpose(1, 2)",
        "by_layer",
        ["tasks/test_head_files.py"],
    ),
    Fault(
        "the-file-of-a-head-is-no-part-of-the-identity",
        "planning/identity.py",
        '**({"head": self.task.head_sha256} if self.task.head_sha256 else {}),',
        "",
        ["tasks/test_head_files.py"],
    ),
    Fault(
        "a-swapped-file-is-not-noticed",
        "datasets/parts/audit.py",
        "if before in (None, content.encode()):",
        "if True:",
        ["datasets/test_messy.py"],
    ),
    # --- the threat and the climb
    Fault(
        "twins-share-a-fingerprint",
        "encoders/parts/own_code.py",
        "parts = [name, weights,",
        "parts = [weights,",
        ["encoders/test_py.py"],
    ),
    Fault(
        "closures-are-passed-over",
        "encoders/parts/own_code.py",
        '"c": cells}',
        '"c": []}',
        ["encoders/test_py.py"],
    ),
    Fault(
        "native-images-are-padded",
        "encoders/parts/wrappers.py",
        "native = (height, width) == self.native",
        "native = (height, width) == (0, 0)",
        ["contracts/test_native_contract.py", "encoders/test_hf.py"],
    ),
    Fault(
        "a-card-runs-a-file",
        "encoders/parts/cards.py",
        'base or harmless(path, known["base"])',
        'base or known["base"]',
        ["encoders/test_cards.py"],
    ),
    Fault(
        "a-configuration-chooses-code",
        "encoders/parts/configuration.py",
        "if key in own}",
        "}",
        ["encoders/test_hf.py"],
    ),
    Fault(
        "layers-without-bound",
        "encoders/parts/configuration.py",
        "not abs(total) <= most:",
        "not abs(total) >= 0:",
        ["encoders/test_hf.py", "encoders/test_open_clip.py"],
    ),
    Fault(
        "the-student-in-place-of-its-teacher",
        "encoders/parts/checkpoints.py",
        'or (taught and _word("teacher", place))',
        "",
        ["encoders/test_reading.py"],
    ),
    Fault(
        "every-format-is-decoded",
        "types/image_files.py",
        "formats=FORMATS",
        "formats=None",
        ["types/test_image_files.py"],
    ),
    Fault(
        "a-model-writes-into-the-images",
        "types/model.py",
        "prediction = head(images.clone())",
        "prediction = head(images)",
        ["api/test_api.py"],
    ),
    Fault(
        "one-fault-ends-the-run",
        "launch/parts/cell.py",
        "except Exception as error:  # noqa: BLE001 - of an",
        "except ValueError as error:  # noqa: BLE001 - of an",
        ["evaluation/test_measure.py"],
    ),
    Fault(
        "log-of-negative-metres",
        "tasks/parts/depth_losses.py",
        "return (torch.where(below, 0.0, metres) + SHIFT).log() + torch.where(below, metres, 0.0) / SHIFT",
        "return (metres + SHIFT).log()",
        ["tasks/test_depth_below_zero.py"],
    ),
    Fault(
        "negative-agreement",
        "tasks/depth.py",
        "ratio = (guess.clamp(min=0) + SHIFT)",
        "ratio = (guess + SHIFT)",
        ["tasks/test_depth_below_zero.py"],
    ),
    Fault("first-holder-gives-back", "types/freezing.py", "if count > 1:", "if count > 2:", ["types/test_freezing.py"]),
    Fault(
        "modules-of-closures-unseen",
        "types/freezing.py",
        "kept = [thing.__closure__,",
        "kept = [",
        ["types/test_freezing.py"],
    ),
    Fault(
        "default-type-of-the-caller",
        "api/world.py",
        "        torch.set_default_dtype(torch.float32)\n",
        "",
        ["api/test_world.py"],
    ),
    Fault(
        "autocast-of-the-caller",
        "api/world.py",
        "if torch.is_autocast_enabled(kind):",
        "if False:",
        ["api/test_world.py"],
    ),
    Fault(
        "random-state-moved",
        "api/world.py",
        "    (torch.get_rng_state, torch.set_rng_state),\n",
        "",
        ["api/test_world.py"],
    ),
    Fault(
        "logits-in-their-own-type",
        "types/model.py",
        "return prediction.to(images.dtype) if kind in FLOATING else prediction",
        "return prediction",
        ["api/test_api.py"],
    ),
    Fault(
        "features-not-halved",
        "attacks/parts/halving.py",
        "if len(rows) < 2:",
        "if True:",
        ["evaluation/test_memory.py"],
    ),
    Fault(
        "float32-is-bfloat16-again",
        "checks/bfloat16.py",
        'evidence.again(evidence.batch, precision="fp32")',
        "evidence.again(evidence.batch)",
        ["checks/test_bfloat16.py"],
    ),
    Fault(
        "one-likeness-of-gradients-is-enough",
        "checks/bfloat16.py",
        "cosine.min() >= ALIKE else",
        "cosine.max() >= ALIKE else",
        ["checks/test_bfloat16.py"],
    ),
    Fault(
        "gradients-are-all-in-float32",
        "checks/parts/evidence.py",
        'with self.model.using(bf16=precision == "bf16"), torch',
        "with self.model.using(bf16=False), torch",
        ["checks/test_bfloat16.py"],
    ),
    Fault(
        "memory-is-a-verdict",
        "checks/parts/evidence.py",
        'return Finding(name, "unchecked", None, str(error))',
        'return Finding(name, "fail", None, str(error))',
        ["checks/test_evidence.py"],
    ),
    Fault(
        "certain-without-spread",
        "evaluation/intervals.py",
        "if spread > ROUNDING * size else math.nan",
        "if len(values) > 1 else math.nan",
        ["results/test_paired_tests.py", "evaluation/test_intervals.py"],
    ),
    Fault(
        "truth-is-a-budget",
        "core/budget.py",
        "            raise TypeError  # True is not 1\n",
        "            pass\n",
        ["planning/test_plan.py"],
    ),
    Fault(
        "two-budgets-of-one-name",
        "core/budget.py",
        "if float(spec.number(text)) == eps",
        "if abs(float(spec.number(text)) - eps) < 1e-6",
        ["planning/test_plan.py"],
    ),
    Fault(
        "an-objective-of-one-number",
        "attacks/parts/climb.py",
        "    if shape != (count,):",
        "    if False:",
        ["api/test_api.py"],
    ),
    Fault(
        "teacher-in-training-mode",
        "tuning/parts/method.py",
        "kept = copy.deepcopy(teacher).eval()",
        "kept = copy.deepcopy(teacher).train()",
        ["tuning/test_training.py"],
    ),
    Fault(
        "each-device-sees-every-image",
        "tuning/parts/source.py",
        "places[self.rank :: self.world]",
        "places",
        ["tuning/test_training.py"],
    ),
    Fault(
        "the-same-view-in-every-epoch",
        "tuning/parts/source.py",
        'name = f"{self.names[place]}@{step}"',
        "name = self.names[place]",
        ["tuning/test_training.py"],
    ),
    Fault(
        "the-mean-of-the-weights-is-not-resumed",
        "tuning/parts/training.py",
        'self.mean, self.done = state["mean"], int(state["step"])',
        'self.done = int(state["step"])',
        ["tuning/test_training.py"],
    ),
    Fault(
        "the-attack-leads-away-from-the-student",
        "tuning/parts/inner.py",
        "seen = self._anchor if first else encoder(images)",
        "seen = self._both[0](images)",
        ["tuning/test_losses.py"],
    ),
    Fault(
        "profeat-is-attacked-by-its-feature-alone",
        "tuning/parts/inner.py",
        'reads=("pooled", "grid") if self.projector else None',
        "reads=None",
        ["tuning/test_losses.py"],
    ),
    Fault(
        "the-projector-learns",
        "tuning/profeat.py",
        "copy.deepcopy(encoder.projector).eval().requires_grad_(False)",
        "copy.deepcopy(encoder.projector).eval()",
        ["tuning/test_losses.py"],
    ),
    Fault(
        "more-than-the-tokens-learns",
        "tuning/robustness_tokens.py",
        "extended(method.student.requires_grad_(False), start)",
        "extended(method.student, start)",
        ["tuning/test_finetune.py"],
    ),
    Fault(
        "extra-tokens-before-cls",
        "encoders/parts/extra_tokens.py",
        "torch.cat([first[:, : self.own], extra, first[:, self.own :]], 1)",
        "torch.cat([extra, first], 1)",
        ["encoders/test_extra_tokens.py"],
    ),
    Fault(
        "sign-of-the-step",
        "types/threat.py",
        "return images + step * gradient.sign()",
        "return images - step * gradient.sign()",
        ASCENT,
    ),
    Fault(
        "projected-before-the-step",
        "attacks/parts/ascent.py",
        "images = threat.project(climb.clean, threat.ascend(images, gradient, step * threat.eps))",
        "images = threat.ascend(threat.project(climb.clean, images), gradient, step * threat.eps)",
        ASCENT,
    ),
    Fault("no-box", "types/threat.py", "return (clean + delta).clamp(0, 1)", "return clean + delta", THREAT),
    Fault(
        "mean-for-sum-in-the-l2-norm",
        "types/threat.py",
        "return torch.linalg.vector_norm(delta, ORDERS[norm], (1, 2, 3), keepdim=True)",
        "return delta.abs().pow(ORDERS[norm]).mean((1, 2, 3), keepdim=True).pow(1 / ORDERS[norm])",
        THREAT,
    ),
    Fault(
        "l1-cut-after-the-box",
        "types/threat.py",
        "(size - cut.clamp(min=0)).clamp(min=0).minimum(room)",
        "(size.minimum(room) - cut.clamp(min=0)).clamp(min=0)",
        THREAT,
    ),
    Fault(
        "l1-steps-at-values-that-have-met-the-box",
        "types/threat.py",
        "pull * torch.where(gradient > 0, images < 1 - ROUNDING, images > ROUNDING)",
        "pull * 1",
        THREAT,
    ),
    Fault(
        "8-bit-rounding-away-from-the-clean-image",
        "types/threat.py",
        "torch.where(levels > base, levels.floor(), levels.ceil())",
        "torch.where(levels > base, levels.ceil(), levels.floor())",
        THREAT,
    ),
    Fault(
        "noise-for-a-gradient",
        "attacks/parts/ascent.py",
        "threat.ascend(images, gradient,",
        "threat.ascend(images, torch.randn_like(gradient),",
        ASCENT,
    ),
    Fault(
        "best-is-stuck",
        "attacks/parts/climb.py",
        " | ((ranks[0] == self._rank[0]) & further)",
        "",
        ASCENT,
    ),
    Fault(
        "last-for-best",
        "attacks/parts/climb.py",
        "self._best = torch.where(better.view(-1, 1, 1, 1), images, self._best)",
        "self._best = images",
        ASCENT,
    ),
    Fault(
        "success-once-a-single-pixel-is-wrong",
        "attacks/parts/climb.py",
        "return right.reshape(len(right), -1).any(1)",
        "return right.reshape(len(right), -1).all(1)",
        ASCENT,
    ),
    Fault(
        "random-numbers-by-position",
        "types/rng.py",
        "for name in ids])",
        "for name in map(str, range(len(ids)))])",
        ("types/test_rng.py",),
    ),
    # --- objectives
    Fault(
        "softmax-along-the-wrong-axis",
        "types/task.py",
        "share = logits.softmax(1)",
        "share = logits.softmax(-1)",
        CLIMBED,
    ),
    Fault(
        "dlr-without-its-third-logit",
        "objectives/dlr.py",
        "(top[:, 2] if aim is None",
        "(top[:, 1] if aim is None",
        CLIMBED,
    ),
    Fault(
        "rank-off-by-one", "objectives/dlr.py", "[:, rank - 1 : rank] if rank", "[:, rank : rank + 1] if rank", CLIMBED
    ),
    Fault(
        "segpgds-schedule-inverted",
        "objectives/segpgd.py",
        "torch.where(right, 1 - progress / 2, progress / 2)",
        "torch.where(right, progress / 2, 1 - progress / 2)",
        CLIMBED,
    ),
    Fault("cospgds-weight-not-held-fixed", "objectives/cospgd.py", "agreement.detach()", "agreement", CLIMBED),
    Fault("masked-ce-on-the-wrong-pixels", "objectives/masked_ce.py", "* right * weight", "* ~right * weight", CLIMBED),
    Fault("a-sign-in-js", "objectives/js.py", "log(2) * 2 - p * surprise", "log(2) * 2 + p * surprise", CLIMBED),
    Fault(
        "log-bias-the-other-way",
        "objectives/log_bias.py",
        '1 if direction == "up" else -1',
        '-1 if direction == "up" else 1',
        CLIMBED,
    ),
    # --- attacks
    Fault(
        "apgd-scouts-from-the-clean-image",
        "attacks/apgd.py",
        "walk(climb, start, steps=steps",
        "walk(climb, climb.clean, steps=steps",
        APGD,
    ),
    Fault(
        "targeted-keeps-what-is-most-wrong",
        "attacks/parts/climb.py",
        "self._prediction is not None and aim is None and",
        "self._prediction is not None and",
        APGD,
    ),
    Fault("targeted-counts-what-is-there", "objectives/targeted.py", "valid & (truth != aim)", "valid", MEASURED),
    Fault(
        "an-embedding-attack-judged-once",
        "attacks/parts/climb.py",
        "        self._prediction = None\n        handle",
        "        handle",
        ("attacks/test_ensembles_of_the_house.py",),
    ),
    Fault(
        "sea-as-published-with-a-chain",
        "attacks/sea.py",
        "_onward(steps) if attacks else []",
        "_onward(steps)",
        ("attacks/test_ensembles_of_the_house.py",),
    ),
    Fault(
        "parts-of-all-budgets-alike",
        "attacks/parts/ensemble.py",
        "{number}@{threat.eps!r}",
        "{number}",
        ("attacks/test_image_store.py",),
    ),
    Fault(
        "apgd-never-halves",
        "attacks/apgd.py",
        "torch.where(mask, size / 2, size)",
        "torch.where(mask, size, size)",
        APGD,
    ),
    Fault(
        "apgds-momentum-turned",
        "attacks/apgd.py",
        "(1 - share) * (images - before)",
        "(1 - share) * (before - images)",
        APGD,
    ),
    Fault(
        "apgd-continues-from-the-last",
        "attacks/apgd.py",
        "torch.where(mask, top, images),\n            torch.where(mask, top_gradient, gradient),",
        "images,\n            gradient,",
        APGD,
    ),
    Fault(
        "square-keeps-what-is-worse",
        "attacks/square.py",
        "(done | (value > had))",
        "(done | (value < had))",
        ("attacks/test_square.py",),
    ),
    Fault(
        "fab-beyond-eps", "attacks/fab.py", " & (threat.violation(clean, images) == 0)", "", ("attacks/test_fab.py",)
    ),
    Fault(
        "ensemble-of-the-least-harmful",
        "attacks/parts/ensemble.py",
        "(new_damage > damage[rows])",
        "(new_damage < damage[rows])",
        APGD,
    ),
    Fault(
        "ensemble-judged-in-bfloat16",
        "attacks/parts/ensemble.py",
        "with model.using(bf16=False):",
        "with model.using():",
        APGD,
    ),
    Fault(
        "only-the-beaten-go-on",
        "attacks/parts/ensemble.py",
        "(~beaten if number or model.settles",
        "(beaten if number or model.settles",
        ("attacks/test_autoattack.py",),
    ),
    Fault(
        "survivors-with-others-targets",
        "types/data.py",
        "self.target[place]",
        "self.target[: len(place)]",
        ("attacks/test_autoattack.py",),
    ),
    # --- models
    Fault(
        "normalised-twice",
        "encoders/parts/wrappers.py",
        "self.normalise(images)",
        "self.normalise(self.normalise(images))",
        ("contracts/test_encoder_contract.py", "oracles/test_backbone_oracle.py"),
    ),
    Fault(
        "left-in-training-mode",
        "types/freezing.py",
        "elif thing.training != flag:",
        "elif flag:",
        ("types/test_freezing.py",),
    ),
    Fault(
        "frozen-parameters-thaw",
        "types/freezing.py",
        "thing.requires_grad_(flag)",
        "thing.requires_grad_(True)",
        ("types/test_freezing.py",),
    ),
    Fault(
        "windows-averaged-by-the-largest-count",
        "types/windows.py",
        "return total.div_(count)",
        "return total.div_(count.max())",
        ("types/test_windows.py",),
    ),
    Fault(
        "probe-fitted-on-val",
        "evaluation/heads.py",
        "outputs, train, val, seed=seed",
        "outputs, val, val, seed=seed",
        ("evaluation/test_cache_and_heads.py", "evaluation/test_probe.py"),
    ),
    Fault(
        "the-worse-half-of-the-heads-goes-on",
        "evaluation/probe.py",
        "self.seen[i].score), reverse=True)",
        "self.seen[i].score))",
        ("evaluation/test_probe.py",),
    ),
    Fault(
        "head-chosen-on-test",
        "evaluation/heads.py",
        '{split: resolved.data(split) for split in ("train", rule.chosen_on)}',
        '{split: resolved.data(part) for split, part in (("train", "train"), (rule.chosen_on, "test"))}',
        ("evaluation/test_cache_and_heads.py", "evaluation/test_probe.py"),
    ),
    Fault(
        "the-farthest-scenes-are-shown",
        "api/showing.py",
        ".topk(NEAREST)",
        ".topk(NEAREST, largest=False)",
        ("cli/test_show_picture.py",),
    ),
    Fault(
        "one-part-of-the-features-for-another",
        "evaluation/heads.py",
        'get_or_make("features", {**key, "reads": [name]}, make,',
        'get_or_make("features", key, make,',
        ("evaluation/test_cache_and_heads.py",),
    ),
    Fault(
        "features-of-any-weights",
        "evaluation/heads.py",
        '                "weights": weights,\n',
        "",
        ("evaluation/test_cache_and_heads.py",),
    ),
    # --- scores and intervals
    Fault(
        "void-counted-in-miou",
        "tasks/segmentation.py",
        "guess.where(valid, count), target.where",
        "guess, target.where",
        DENSE,
    ),
    Fault(
        "void-counted-in-the-loss",
        "tasks/segmentation.py",
        'cross_entropy(prediction, target, ignore_index=VOID, reduction="none")',
        'cross_entropy(prediction, torch.where(target == VOID, 0, target), reduction="none")',
        DENSE,
    ),
    Fault(
        "rmse-with-invalid-pixels",
        "tasks/depth.py",
        "guess = torch.where(valid, prediction.double(), 1.0)",
        "guess = prediction",
        DENSE,
    ),
    Fault(
        "wilson-of-90-percent",
        "evaluation/intervals.py",
        "Z = 1.959964",
        "Z = 1.644854",
        ("evaluation/test_intervals.py",),
    ),
    Fault(
        "jackknife-with-its-bias",
        "evaluation/intervals.py",
        "values.mean().item() - metrics[name], half",
        "0.0, half",
        ("evaluation/test_intervals.py",),
    ),
    Fault(
        "metres-cut-at-1",
        "evaluation/intervals.py",
        "return max(low, 0.0) if value >= 0 else low, high",
        "return max(low, 0.0), min(high, 1.0)",
        ("evaluation/test_intervals.py",),
    ),
    Fault(
        "projector-of-dino-with-relu",
        "encoders/parts/projectors.py",
        r"""r"\1head.mlp.", "(La)+L|(LBa)+L", nn.GELU""",
        r"""r"\1head.mlp.", "(La)+L|(LBa)+L", nn.ReLU""",
        ("encoders/test_projector.py",),
    ),
    Fault(
        "projector-asked-for-and-left-out",
        "tasks/representation.py",
        "return Unit(encoder.projector if self.projector else None)",
        "return Unit()",
        ("encoders/test_projector.py",),
    ),
    Fault(
        "targets-of-other-images-at-each-pass",
        "evaluation/recomputed.py",
        "target = torch.stack(targets)",
        "target = torch.stack(targets[::-1])",
        ("evaluation/test_disk_needs.py",),
    ),
    # --- measuring
    Fault(
        "eps-divided-by-255-twice", "evaluation/measure.py", "cell.eps or 0.0)", "(cell.eps or 0.0) / 255)", MEASURED
    ),
    Fault(
        "one-image-inside-excuses-the-others",
        "evaluation/scoring.py",
        "(worst > TOLERANCE).any()",
        "(worst > TOLERANCE).all()",
        MEASURED,
    ),
    Fault(
        "intervals-of-the-rounded-images",
        "evaluation/scoring.py",
        " = intervals(task, choices[0])",
        " = intervals(task, join(self._rounded))",
        MEASURED,
    ),
    Fault(
        "targets-of-other-images",
        "evaluation/loading.py",
        "torch.stack(targets).to(device)",
        "torch.stack(targets[::-1]).to(device)",
        ("evaluation/test_protocol.py", *MEASURED),
    ),
    Fault(
        "identity-forgets-eps",
        "planning/identity.py",
        '"cell": {**asdict(self.cell), **specs}',
        '"cell": {**asdict(self.cell), "eps": None, **specs}',
        ("planning/test_plan.py",),
    ),
    Fault(
        "another-cells-images-on-resuming",
        "results/store.py",
        'return self.root / "adversarial" / name',
        'return self.root / "adversarial"',
        ("attacks/test_image_store.py", "attacks/test_across.py"),
    ),
)


def planted(fault: Fault) -> str:
    """The source of the file with the fault in it.

    Raises:
        ValueError: what it replaces does not stand there exactly once.
    """
    text = (SOURCE / fault.file).read_text(encoding="utf8")
    if (count := text.count(fault.old)) != 1:
        raise ValueError(
            f"{fault.name}: {fault.old!r} stands {count} times in {fault.file}, not once; bring the list up to date"
        )
    return text.replace(fault.old, fault.new)


@contextmanager
def copied() -> Iterator[Path]:
    """A folder with a copy of the package, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="brittle-faults-") as folder:
        shutil.copytree(SOURCE, Path(folder) / "brittle", ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)


def run(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Pytest's exit code and output on the copy in ``folder``, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=short", "-rfE", *tests]
    # no bytecode: a file changed twice in a second might be taken for what it was
    settings = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    settings.pop("BRITTLE_TESTS", None)  # what the suite keeps while it runs itself must not be what a fault made
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {LIMIT} s"
    return done.returncode, done.stdout + done.stderr


def caught(folder: Path, fault: Fault) -> str:
    """The first test that fails with the fault planted into the copy in ``folder``; empty where all pass, or where the
    tests do not even start, for a source that cannot be imported is no fault that a suite must find."""
    path = folder / "brittle" / fault.file
    sound = path.read_text(encoding="utf8")
    path.write_text(planted(fault), encoding="utf8")
    try:
        code, output = run(folder, [f"tests/{test}" for test in fault.tests])
    finally:
        path.write_text(sound, encoding="utf8")
    failure = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", output, re.MULTILINE)
    return failure.group(1) if code == 1 and failure else ""


def main(names: Sequence[str]) -> int:
    """Plant the faults of these names, or all; the exit code."""
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    if unknown := set(names) - {fault.name for fault in chosen}:
        print(f"no fault called {', '.join(sorted(unknown))}; there is {', '.join(fault.name for fault in FAULTS)}")
        return 2
    caught_by: dict[str, str] = {}
    with copied() as folder:
        for fault in chosen:
            began = time.monotonic()
            caught_by[fault.name] = by = caught(folder, fault)
            print(
                f"{fault.name:42} {f'caught by {by}' if by else 'MISSED'} ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
        catching = sorted({by for by in caught_by.values() if by})
        code, output = run(folder, catching) if catching else (0, "")
    if code:
        print(f"{output}\na test that caught a fault fails without one as well; fix that first")
        return 2
    missed = sum(not by for by in caught_by.values())
    print(
        f"{len(chosen) - missed} of {len(chosen)} caught, by {len(catching)} tests that pass where nothing is planted"
    )
    return int(missed * SPARED > len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
