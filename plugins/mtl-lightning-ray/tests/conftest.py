"""A Ray cluster of two nodes on this machine."""

import os

import pytest
import ray
from ray.cluster_utils import Cluster

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="session")
def cluster():
    """Two nodes with two CPUs in all; this process is connected to the first."""
    os.environ |= ENVIRONMENT
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(nodes.address, log_to_driver=False, logging_level="warning")
    yield nodes
    ray.shutdown()
    nodes.shutdown()
