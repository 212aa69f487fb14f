"""The ``core`` plugin: names and places of the components of this package. It imports none of them."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1

SOURCES = {
    "adult": "mtl_lightning.data.sources.adult:Adult",
    "ali_ccp": "mtl_lightning.data.sources.ali_ccp:AliCCP",
    "aliexpress": "mtl_lightning.data.sources.aliexpress:AliExpress",
    "cdnow": "mtl_lightning.data.sources.cdnow:CDNOW",
    "census_income": "mtl_lightning.data.sources.census_income:CensusIncome",
    "criteo_attribution": "mtl_lightning.data.sources.criteo_attribution:CriteoAttribution",
    "criteo_search": "mtl_lightning.data.sources.criteo_search:CriteoSearch",
    "ebnerd": "mtl_lightning.data.sources.ebnerd:EBNeRD",
    "hub": "mtl_lightning.data.sources.hub:Hub",
    "kuairand": "mtl_lightning.data.sources.kuairand:KuaiRand",
    "mind": "mtl_lightning.data.sources.mind:MIND",
    "movielens_100k": "mtl_lightning.data.sources.movielens_100k:MovieLens100K",
    "movielens_1m": "mtl_lightning.data.sources.movielens_1m:MovieLens1M",
    "open_bandit": "mtl_lightning.data.sources.open_bandit:OpenBandit",
    "simulator": "mtl_lightning.data.sources.simulator:Simulator",
    "table": "mtl_lightning.data.sources.table:Table",
    "tenrec": "mtl_lightning.data.sources.tenrec:Tenrec",
    "wechat": "mtl_lightning.data.sources.wechat:WeChat",
    "womens_clothing": "mtl_lightning.data.sources.womens_clothing:WomensClothing",
}

FEATURES = {
    "buckets": "mtl_lightning.data.features.buckets:Buckets",
    "categorical": "mtl_lightning.data.features.categorical:Categorical",
    "cross": "mtl_lightning.data.features.cross:Cross",
    "date": "mtl_lightning.data.features.date:Date",
    "hashed": "mtl_lightning.data.features.hashed:Hashed",
    "history": "mtl_lightning.data.features.history:History",
    "numeric": "mtl_lightning.data.features.numeric:Numeric",
    "sequence": "mtl_lightning.data.features.sequence:Sequence",
    "text": "mtl_lightning.data.features.text:Text",
    "vector": "mtl_lightning.data.features.vector:Vector",
    "overlap": "mtl_lightning.data.features.overlap:Overlap",
    "semantic_id": "mtl_lightning.data.features.semantic_id:SemanticId",
}

ENCODERS = {
    "autoint": "mtl_lightning.encoders.autoint:AutoIntEncoder",
    "dcn_v2": "mtl_lightning.encoders.dcn_v2:DCNv2Encoder",
    "din": "mtl_lightning.encoders.din:DINEncoder",
    "embedding": "mtl_lightning.encoders.embedding:EmbeddingEncoder",
    "eta": "mtl_lightning.encoders.eta:ETAEncoder",
    "hstu": "mtl_lightning.encoders.hstu:HSTUEncoder",
    "masknet": "mtl_lightning.encoders.masknet:MaskNetEncoder",
    "onetrans": "mtl_lightning.encoders.onetrans:OneTransEncoder",
    "rankmixer": "mtl_lightning.encoders.rankmixer:RankMixerEncoder",
    "sdim": "mtl_lightning.encoders.sdim:SDIMEncoder",
    "sim": "mtl_lightning.encoders.sim:SIMEncoder",
    "transformer": "mtl_lightning.encoders.transformer:TransformerEncoder",
    "wukong": "mtl_lightning.encoders.wukong:WukongEncoder",
}

ARCHITECTURES = {
    "adatt": "mtl_lightning.architectures.adatt:AdaTT",
    "cgc": "mtl_lightning.architectures.cgc:CGC",
    "cross_stitch": "mtl_lightning.architectures.cross_stitch:CrossStitch",
    "dbmtl": "mtl_lightning.architectures.dbmtl:DBMTL",
    "dselect_k": "mtl_lightning.architectures.dselect_k:DSelectK",
    "home": "mtl_lightning.architectures.home:HoME",
    "late_fusion": "mtl_lightning.architectures.late_fusion:LateFusion",
    "mmoe": "mtl_lightning.architectures.mmoe:MMoE",
    "mtan": "mtl_lightning.architectures.mtan:MTAN",
    "omoe": "mtl_lightning.architectures.omoe:OMoE",
    "onerank": "mtl_lightning.architectures.onerank:OneRank",
    "pepnet": "mtl_lightning.architectures.pepnet:PEPNet",
    "ple": "mtl_lightning.architectures.ple:PLE",
    "poso": "mtl_lightning.architectures.poso:POSO",
    "shared_bottom": "mtl_lightning.architectures.shared_bottom:SharedBottom",
    "single_task": "mtl_lightning.architectures.single_task:SingleTask",
    "sluice": "mtl_lightning.architectures.sluice:Sluice",
    "smes": "mtl_lightning.architectures.smes:SMES",
    "star": "mtl_lightning.architectures.star:STAR",
    "stem": "mtl_lightning.architectures.stem:STEM",
    "tabm": "mtl_lightning.architectures.tabm:TabM",
}

HEADS = {
    "aitm": "mtl_lightning.heads.aitm:AITMHead",
    "binary": "mtl_lightning.heads.binary:BinaryHead",
    "count": "mtl_lightning.heads.count:CountHead",
    "cread": "mtl_lightning.heads.cread:CREADHead",
    "d2q": "mtl_lightning.heads.d2q:D2QHead",
    "dcmt": "mtl_lightning.heads.dcmt:DCMTHead",
    "delayed_feedback": "mtl_lightning.heads.delayed_feedback:DelayedFeedbackHead",
    "distribution": "mtl_lightning.heads.distribution:DistributionHead",
    "dragonnet": "mtl_lightning.heads.dragonnet:DragonNetHead",
    "escm2": "mtl_lightning.heads.escm2:ESCM2Head",
    "esmm": "mtl_lightning.heads.esmm:ESMMHead",
    "jrc": "mtl_lightning.heads.jrc:JRCHead",
    "multiclass": "mtl_lightning.heads.multiclass:MulticlassHead",
    "multilabel": "mtl_lightning.heads.multilabel:MultilabelHead",
    "ordinal": "mtl_lightning.heads.ordinal:OrdinalHead",
    "position_bias": "mtl_lightning.heads.position_bias:PositionBiasHead",
    "regression": "mtl_lightning.heads.regression:RegressionHead",
    "s_learner": "mtl_lightning.heads.s_learner:SLearnerHead",
    "t_learner": "mtl_lightning.heads.t_learner:TLearnerHead",
    "tarnet": "mtl_lightning.heads.tarnet:TARNetHead",
    "tpm": "mtl_lightning.heads.tpm:TPMHead",
    "value": "mtl_lightning.heads.value:ValueHead",
    "weighted_logistic": "mtl_lightning.heads.weighted_logistic:WeightedLogisticHead",
    "x_learner": "mtl_lightning.heads.x_learner:XLearnerHead",
}

LOSSES = {
    "bce": "mtl_lightning.losses.bce:BinaryCrossEntropy",
    "ce": "mtl_lightning.losses.ce:CrossEntropy",
    "coral": "mtl_lightning.losses.coral:CoralLoss",
    "cread": "mtl_lightning.losses.cread:CREADLoss",
    "d2q": "mtl_lightning.losses.d2q:D2QLoss",
    "dcmt": "mtl_lightning.losses.dcmt:DCMTLoss",
    "delayed_feedback": "mtl_lightning.losses.delayed_feedback:DelayedFeedbackLoss",
    "dragonnet": "mtl_lightning.losses.dragonnet:DragonNetLoss",
    "escm2": "mtl_lightning.losses.escm2:ESCM2Loss",
    "focal": "mtl_lightning.losses.focal:FocalLoss",
    "huber": "mtl_lightning.losses.huber:Huber",
    "jrc": "mtl_lightning.losses.jrc:JRCLoss",
    "listwise": "mtl_lightning.losses.listwise:Listwise",
    "log_cosh": "mtl_lightning.losses.log_cosh:LogCosh",
    "mae": "mtl_lightning.losses.mae:MeanAbsoluteError",
    "mse": "mtl_lightning.losses.mse:MeanSquaredError",
    "pairwise": "mtl_lightning.losses.pairwise:Pairwise",
    "pinball": "mtl_lightning.losses.pinball:PinballLoss",
    "poisson": "mtl_lightning.losses.poisson:PoissonLoss",
    "tpm": "mtl_lightning.losses.tpm:TPMLoss",
    "uplift": "mtl_lightning.losses.uplift:UpliftLoss",
    "weighted_logistic": "mtl_lightning.losses.weighted_logistic:WeightedLogistic",
    "x_learner": "mtl_lightning.losses.x_learner:XLearnerLoss",
    "ziln": "mtl_lightning.losses.ziln:ZILNLoss",
}

WEIGHTERS = {
    "aligned_mtl": "mtl_lightning.weighters.aligned_mtl:AlignedMTL",
    "attention": "mtl_lightning.weighters.attention:AttentionWeighting",
    "cagrad": "mtl_lightning.weighters.cagrad:CAGrad",
    "constant": "mtl_lightning.weighters.constant:Constant",
    "db_mtl": "mtl_lightning.weighters.db_mtl:DBMTL",
    "dwa": "mtl_lightning.weighters.dwa:DWA",
    "excess_mtl": "mtl_lightning.weighters.excess_mtl:ExcessMTL",
    "fairgrad": "mtl_lightning.weighters.fairgrad:FairGrad",
    "famo": "mtl_lightning.weighters.famo:FAMO",
    "gls": "mtl_lightning.weighters.gls:GLS",
    "graddrop": "mtl_lightning.weighters.graddrop:GradDrop",
    "gradnorm": "mtl_lightning.weighters.gradnorm:GradNorm",
    "gradvac": "mtl_lightning.weighters.gradvac:GradVac",
    "imtl_g": "mtl_lightning.weighters.imtl_g:IMTLG",
    "imtl_l": "mtl_lightning.weighters.imtl_l:IMTLL",
    "metabalance": "mtl_lightning.weighters.metabalance:MetaBalance",
    "mgda": "mtl_lightning.weighters.mgda:MGDA",
    "moco": "mtl_lightning.weighters.moco:MoCo",
    "modo": "mtl_lightning.weighters.modo:MoDo",
    "nash_mtl": "mtl_lightning.weighters.nash_mtl:NashMTL",
    "pareto": "mtl_lightning.weighters.pareto:Pareto",
    "pcgrad": "mtl_lightning.weighters.pcgrad:PCGrad",
    "rlw": "mtl_lightning.weighters.rlw:RLW",
    "sdmgrad": "mtl_lightning.weighters.sdmgrad:SDMGrad",
    "stch": "mtl_lightning.weighters.stch:STCH",
    "sum": "mtl_lightning.weighters.sum:Sum",
    "uncertainty": "mtl_lightning.weighters.uncertainty:Uncertainty",
    "upgrad": "mtl_lightning.weighters.upgrad:UPGrad",
}

METRICS = {
    "accuracy": "mtl_lightning.metrics.multiclass.accuracy:Accuracy",
    "auc": "mtl_lightning.metrics.binary.auc:AUC",
    "auuc": "mtl_lightning.metrics.uplift.auuc:AUUC",
    "calibration": "mtl_lightning.metrics.binary.calibration:Calibration",
    "coverage": "mtl_lightning.metrics.regression.coverage:Coverage",
    "crps": "mtl_lightning.metrics.regression.crps:CRPS",
    "ece": "mtl_lightning.metrics.binary.ece:ECE",
    "expected_auc": "mtl_lightning.metrics.binary.expected_auc:ExpectedAUC",
    "f1": "mtl_lightning.metrics.counting.f1:F1",
    "gauc": "mtl_lightning.metrics.ranking.gauc:GAUC",
    "log_loss": "mtl_lightning.metrics.binary.log_loss:LogLoss",
    "macro_f1": "mtl_lightning.metrics.multiclass.macro_f1:MacroF1",
    "mae": "mtl_lightning.metrics.regression.mae:MeanAbsoluteError",
    "multiclass_log_loss": "mtl_lightning.metrics.multiclass.multiclass_log_loss:MulticlassLogLoss",
    "ndcg": "mtl_lightning.metrics.ranking.ndcg:NDCG",
    "normalized_entropy": "mtl_lightning.metrics.binary.normalized_entropy:NormalizedEntropy",
    "oracle_auc": "mtl_lightning.metrics.binary.oracle_auc:OracleAUC",
    "pehe": "mtl_lightning.metrics.uplift.pehe:PEHE",
    "pr_auc": "mtl_lightning.metrics.binary.pr_auc:PRAUC",
    "precision": "mtl_lightning.metrics.counting.precision:Precision",
    "qini": "mtl_lightning.metrics.uplift.qini:Qini",
    "r2": "mtl_lightning.metrics.regression.r2:R2",
    "recall": "mtl_lightning.metrics.counting.recall:Recall",
    "recall_at_k": "mtl_lightning.metrics.ranking.recall_at_k:RecallAtK",
    "rmse": "mtl_lightning.metrics.regression.rmse:RootMeanSquaredError",
    "uplift_at_k": "mtl_lightning.metrics.uplift.uplift_at_k:UpliftAtK",
    "xauc": "mtl_lightning.metrics.regression.xauc:XAUC",
}

LOGGERS = {
    "csv": "mtl_lightning.loggers.csv:CSVLog",
    "mlflow": "mtl_lightning.loggers.mlflow:MLflow",
    "tensorboard": "mtl_lightning.report.training.events:EventLog",
    "wandb": "mtl_lightning.loggers.wandb:WandB",
}

mtl_sources = hookimpl(lambda: SOURCES)
mtl_features = hookimpl(lambda: FEATURES)
mtl_encoders = hookimpl(lambda: ENCODERS)
mtl_architectures = hookimpl(lambda: ARCHITECTURES)
mtl_heads = hookimpl(lambda: HEADS)
mtl_losses = hookimpl(lambda: LOSSES)
mtl_weighters = hookimpl(lambda: WEIGHTERS)
mtl_metrics = hookimpl(lambda: METRICS)
mtl_loggers = hookimpl(lambda: LOGGERS)
mtl_recipes = hookimpl(lambda: ["mtl_lightning.recipes"])
