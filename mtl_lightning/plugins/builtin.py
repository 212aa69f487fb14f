"""The ``core`` plugin: names and places of the components of this package. It imports none of them."""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1


def places(folder: str, classes: str) -> dict[str, str]:
    """Name → place of the components of a folder, which are written as ``module:Class``; a module has their name.

    Example:
        >>> places("metrics", "binary.auc:AUC")
        {'auc': 'mtl_lightning.metrics.binary.auc:AUC'}
    """
    return {place.split(":")[0].split(".")[-1]: f"mtl_lightning.{folder}.{place}" for place in classes.split()}


SOURCES = places(
    "data.sources",
    """
    adult:Adult ali_ccp:AliCCP aliexpress:AliExpress cdnow:CDNOW census_income:CensusIncome
    criteo_attribution:CriteoAttribution criteo_search:CriteoSearch ebnerd:EBNeRD hub:Hub kuairand:KuaiRand mind:MIND
    movielens_100k:MovieLens100K movielens_1m:MovieLens1M open_bandit:OpenBandit simulator:Simulator table:Table
    tenrec:Tenrec wechat:WeChat womens_clothing:WomensClothing
    """,
)
FEATURES = places(
    "data.features",
    """
    buckets:Buckets categorical:Categorical cross:Cross date:Date hashed:Hashed history:History numeric:Numeric
    overlap:Overlap preference:Preference semantic_id:SemanticId sequence:Sequence text:Text vector:Vector
    """,
)
ENCODERS = places(
    "encoders",
    """
    autoint:AutoIntEncoder dcn_v2:DCNv2Encoder din:DINEncoder embedding:EmbeddingEncoder eta:ETAEncoder hstu:HSTUEncoder
    masknet:MaskNetEncoder onetrans:OneTransEncoder rankmixer:RankMixerEncoder sdim:SDIMEncoder sim:SIMEncoder
    transformer:TransformerEncoder wukong:WukongEncoder
    """,
)
ARCHITECTURES = places(
    "architectures",
    """
    adatt:AdaTT cgc:CGC cross_stitch:CrossStitch dbmtl:DBMTL dselect_k:DSelectK dual_path:DualPath home:HoME
    late_fusion:LateFusion mmoe:MMoE mtan:MTAN omoe:OMoE onerank:OneRank pepnet:PEPNet ple:PLE poso:POSO
    shared_bottom:SharedBottom single_task:SingleTask sluice:Sluice smes:SMES star:STAR stem:STEM tabm:TabM
    task_groups:TaskGroups
    """,
)
HEADS = places(
    "heads",
    """
    aitm:AITMHead binary:BinaryHead count:CountHead cread:CREADHead d2q:D2QHead dcmt:DCMTHead
    delay_windows:DelayWindowsHead delayed_feedback:DelayedFeedbackHead distribution:DistributionHead
    dragonnet:DragonNetHead escm2:ESCM2Head esdfm:ESDFMHead esmm:ESMMHead jrc:JRCHead multiclass:MulticlassHead
    multilabel:MultilabelHead ordinal:OrdinalHead position_bias:PositionBiasHead regression:RegressionHead
    s_learner:SLearnerHead t_learner:TLearnerHead tarnet:TARNetHead tpm:TPMHead value:ValueHead
    weighted_logistic:WeightedLogisticHead x_learner:XLearnerHead
    """,
)
LOSSES = places(
    "losses",
    """
    bce:BinaryCrossEntropy ce:CrossEntropy coral:CoralLoss cread:CREADLoss d2q:D2QLoss dcmt:DCMTLoss
    delay_windows:DelayWindowsLoss delayed_feedback:DelayedFeedbackLoss distilled:Distilled dragonnet:DragonNetLoss
    escm2:ESCM2Loss esdfm:ESDFMLoss focal:FocalLoss huber:Huber jrc:JRCLoss listwise:Listwise log_cosh:LogCosh
    mae:MeanAbsoluteError mse:MeanSquaredError pairwise:Pairwise pinball:PinballLoss poisson:PoissonLoss tpm:TPMLoss
    uplift:UpliftLoss weighted_logistic:WeightedLogistic x_learner:XLearnerLoss ziln:ZILNLoss
    """,
)
WEIGHTERS = places(
    "weighters",
    """
    aligned_mtl:AlignedMTL attention:AttentionWeighting cagrad:CAGrad constant:Constant cosmos:COSMOS
    db_mtl:DBMTL dwa:DWA excess_mtl:ExcessMTL fairgrad:FairGrad famo:FAMO gls:GLS graddrop:GradDrop gradnorm:GradNorm
    gradvac:GradVac imtl_g:IMTLG imtl_l:IMTLL metabalance:MetaBalance mgda:MGDA moco:MoCo modo:MoDo nash_mtl:NashMTL
    pareto:Pareto pcgrad:PCGrad rlw:RLW sdmgrad:SDMGrad stch:STCH sum:Sum uncertainty:Uncertainty upgrad:UPGrad
    """,
)
METRICS = places(
    "metrics",
    """
    binary.auc:AUC binary.calibration:Calibration binary.ece:ECE binary.expected_auc:ExpectedAUC binary.log_loss:LogLoss
    binary.normalized_entropy:NormalizedEntropy binary.oracle_auc:OracleAUC binary.pr_auc:PRAUC counting.f1:F1
    counting.precision:Precision counting.recall:Recall multiclass.accuracy:Accuracy multiclass.macro_f1:MacroF1
    multiclass.multiclass_log_loss:MulticlassLogLoss ranking.gauc:GAUC ranking.ndcg:NDCG ranking.recall_at_k:RecallAtK
    regression.coverage:Coverage regression.crps:CRPS regression.mae:MeanAbsoluteError regression.r2:R2
    regression.rmse:RootMeanSquaredError regression.xauc:XAUC uplift.auuc:AUUC uplift.pehe:PEHE uplift.qini:Qini
    uplift.uplift_at_k:UpliftAtK
    """,
)
LOGGERS = {
    "csv": "mtl_lightning.loggers.csv:CSVLog",
    "mlflow": "mtl_lightning.loggers.mlflow:MLflow",
    "tensorboard": "mtl_lightning.report.training.events:EventLog",
    "wandb": "mtl_lightning.loggers.wandb:WandB",
}

EXECUTORS = {
    "processes": "mtl_lightning.executors.processes:Processes",
    "threads": "mtl_lightning.executors.threads:Threads",
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
mtl_executors = hookimpl(lambda: EXECUTORS)
mtl_recipes = hookimpl(lambda: ["mtl_lightning.recipes"])
