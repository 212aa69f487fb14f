"""The ``core`` plugin: what ships with the package, by name. It imports no component."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1

SOURCES = {
    "movielens_100k": "mtl_lightning.data.sources.movielens_100k:MovieLens100K",
    "simulator": "mtl_lightning.data.sources.simulator:Simulator",
    "table": "mtl_lightning.data.sources.table:Table",
    "womens_clothing": "mtl_lightning.data.sources.womens_clothing:WomensClothing",
}

ENCODERS = {
    "embedding": "mtl_lightning.encoders.embedding:EmbeddingEncoder",
}

ARCHITECTURES = {
    "mmoe": "mtl_lightning.architectures.mmoe:MMoE",
    "shared_bottom": "mtl_lightning.architectures.shared_bottom:SharedBottom",
}

HEADS = {
    "binary": "mtl_lightning.heads.binary:BinaryHead",
    "esmm": "mtl_lightning.heads.esmm:ESMMHead",
    "regression": "mtl_lightning.heads.regression:RegressionHead",
}

LOSSES = {
    "bce": "mtl_lightning.losses.bce:BinaryCrossEntropy",
    "mse": "mtl_lightning.losses.mse:MeanSquaredError",
}

WEIGHTERS = {
    "famo": "mtl_lightning.weighters.famo:FAMO",
    "gradnorm": "mtl_lightning.weighters.gradnorm:GradNorm",
    "pcgrad": "mtl_lightning.weighters.pcgrad:PCGrad",
    "sum": "mtl_lightning.weighters.sum:Sum",
    "uncertainty": "mtl_lightning.weighters.uncertainty:Uncertainty",
}

METRICS = {
    "auc": "mtl_lightning.metrics.auc:AUC",
    "calibration": "mtl_lightning.metrics.calibration:Calibration",
    "expected_auc": "mtl_lightning.metrics.expected_auc:ExpectedAUC",
    "log_loss": "mtl_lightning.metrics.log_loss:LogLoss",
    "mae": "mtl_lightning.metrics.mae:MeanAbsoluteError",
    "normalized_entropy": "mtl_lightning.metrics.normalized_entropy:NormalizedEntropy",
    "oracle_auc": "mtl_lightning.metrics.oracle_auc:OracleAUC",
    "r2": "mtl_lightning.metrics.r2:R2",
    "rmse": "mtl_lightning.metrics.rmse:RootMeanSquaredError",
}


@hookimpl
def mtl_sources() -> dict[str, str]:
    """The table source, the simulator and public sets."""
    return SOURCES


@hookimpl
def mtl_encoders() -> dict[str, str]:
    """Encoders of :mod:`mtl_lightning.encoders`."""
    return ENCODERS


@hookimpl
def mtl_architectures() -> dict[str, str]:
    """Architectures of :mod:`mtl_lightning.architectures`."""
    return ARCHITECTURES


@hookimpl
def mtl_heads() -> dict[str, str]:
    """Heads of :mod:`mtl_lightning.heads`."""
    return HEADS


@hookimpl
def mtl_losses() -> dict[str, str]:
    """Losses of :mod:`mtl_lightning.losses`."""
    return LOSSES


@hookimpl
def mtl_weighters() -> dict[str, str]:
    """Weighters of :mod:`mtl_lightning.weighters`."""
    return WEIGHTERS


@hookimpl
def mtl_metrics() -> dict[str, str]:
    """Metrics of :mod:`mtl_lightning.metrics`."""
    return METRICS


@hookimpl
def mtl_recipes() -> list[str]:
    """The recipes of the wheel."""
    return ["mtl_lightning.recipes"]
