"""Hooks of the plugin; no component is imported, so that listing names is fast.

Names have the prefix ``torchjd_``, because core has weighters of the same methods and a name must have a single owner.
"""

from mtl_lightning.hookspecs import hookimpl

MTL_API = 1

WEIGHTERS = {
    "torchjd_aligned_mtl": "balance:AlignedMTL",
    "torchjd_cagrad": "average:CAGrad",
    "torchjd_config": "balance:ConFIG",
    "torchjd_cosmos": "scalarize:COSMOS",
    "torchjd_cr_mogm": "smoothing:CRMOGM",
    "torchjd_dual_proj": "projection:DualProj",
    "torchjd_fairgrad": "balance:FairGrad",
    "torchjd_graddrop": "entrywise:GradDrop",
    "torchjd_gradvac": "stateful:GradVac",
    "torchjd_imtl_g": "balance:IMTLG",
    "torchjd_krum": "average:Krum",
    "torchjd_mean": "average:Mean",
    "torchjd_mgda": "projection:MGDA",
    "torchjd_nash_mtl": "stateful:NashMTL",
    "torchjd_pbi": "scalarize:PBI",
    "torchjd_pcd": "stateful:PCD",
    "torchjd_pcgrad": "projection:PCGrad",
    "torchjd_random": "average:Random",
    "torchjd_trimmed_mean": "entrywise:TrimmedMean",
    "torchjd_upgrad": "projection:UPGrad",
}


@hookimpl
def mtl_weighters() -> dict[str, str]:
    """TorchJD's weightings, by name."""
    return {name: f"mtl_lightning_torchjd.{place}" for name, place in WEIGHTERS.items()}
