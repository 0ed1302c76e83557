"""The Python words: load an encoder or a data set, attack and check anything, run a plan, tune an encoder."""

from brittle.api.attacking import attack, check
from brittle.api.loading import load_dataset, load_encoder, load_model, read_run, save_model
from brittle.api.running import run
from brittle.api.tuning import finetune

__all__ = ["attack", "check", "finetune", "load_dataset", "load_encoder", "load_model", "read_run", "run", "save_model"]
