"""The values that a recipe's numbers may take, each with one line that explains it."""

from typing import NamedTuple


class Bounds(NamedTuple):
    """The values a number may take, both ends included, and one line that explains it."""

    low: float
    high: float
    meaning: str


BOUNDS: dict[str, Bounds] = {
    "members": Bounds(1, 100, "number of students in the ensemble"),
    "epochs": Bounds(1, 10_000, "passes of each member over the train split"),
    "teacher.epochs": Bounds(1, 10_000, "passes of the teacher over the train split"),
    "teacher.seed": Bounds(0, 2**53 - 1, "tells teachers apart that are otherwise the same"),
    "teacher_views": Bounds(0, 1_000, "views per picture that teachers answer once; 0: every view"),
    "batch_size": Bounds(2, 65_536, "pictures per step; BatchNorm needs at least two"),
    "learning_rate": Bounds(1e-6, 10.0, "step size of SGD; under one_cycle its peak"),
    "muon_learning_rate": Bounds(1e-6, 10.0, "step size of Muon; under one_cycle its peak"),
    "momentum": Bounds(0.0, 0.9999, "momentum of SGD"),
    "weight_decay": Bounds(0.0, 1.0, "L2 penalty of SGD"),
    "muon_weight_decay": Bounds(0.0, 10.0, "decoupled weight decay of Muon"),
    "temperature": Bounds(0.1, 100.0, "T of the softened softmax"),
    "temperature_spread": Bounds(1.0, 10.0, "members' T go from T/spread to T·spread"),
    "distillation_weight": Bounds(0.0, 1.0, "weight of the teacher's loss against the labels'"),
    "distillation_weight_spread": Bounds(0.0, 0.5, "members' λ go from λ-spread to λ+spread"),
    "pooled_weight": Bounds(0.0, 1.0, "weight of the loss of the members' average; couples them"),
    "label_smoothing": Bounds(0.0, 0.99, "share of the label spread over all classes"),
    "validation_fraction": Bounds(0.001, 0.5, "share of train held out for validation"),
    "seed": Bounds(0, 2**53 - 1, "decides initial weights, order and augmentation"),
}
