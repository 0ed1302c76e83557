"""The types that everything passes on: data, encoders, tasks, models, attacks."""

from brittle.core.settings import AtLeastOne, Count, NotNegative, Positive, Step
from brittle.types.attack import Aimed, Attack, Objective
from brittle.types.data import Batch, Dataset, DatasetDefaults, Sample, as_float
from brittle.types.encoder import FINAL, Encoder, Features, Look
from brittle.types.freezing import frozen
from brittle.types.model import Model, predict
from brittle.types.network import Frame, Network
from brittle.types.target import DEPTH, LABEL, MASK, Target
from brittle.types.task import LabelFree, Memory, Task, agreement_of_classes, most_damaged, per_image, resized

__all__ = [
    "Aimed",
    "AtLeastOne",
    "Attack",
    "Batch",
    "Count",
    "DEPTH",
    "Dataset",
    "DatasetDefaults",
    "Encoder",
    "FINAL",
    "Frame",
    "Features",
    "LABEL",
    "LabelFree",
    "Look",
    "MASK",
    "Memory",
    "Model",
    "Network",
    "NotNegative",
    "Objective",
    "Positive",
    "Sample",
    "Step",
    "Target",
    "Task",
    "agreement_of_classes",
    "as_float",
    "frozen",
    "most_damaged",
    "per_image",
    "predict",
    "resized",
]
