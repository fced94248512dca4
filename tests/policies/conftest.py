from collections.abc import Mapping

import pytest

from gradex.policies import ARCHITECTURES, CARE, MultiHead, Network, PaCo, SoftModularization, network

FEATURES, OUTPUTS, TASKS, WIDTH = 4, 2, 3, 8

#: Every architecture as it comes, and some at other depths and sizes.
NETWORKS: Mapping[str, Network] = {
    **{name: network(name, FEATURES, OUTPUTS, TASKS, width=WIDTH) for name in ARCHITECTURES},
    "heads alone": MultiHead(FEATURES, OUTPUTS, TASKS, layers=1),
    "soft_modularization 3 x 3": SoftModularization(
        FEATURES, OUTPUTS, TASKS, layers=4, width=WIDTH, module_layers=3, modules=3
    ),
    "soft_modularization 4 x 2": SoftModularization(
        FEATURES, OUTPUTS, TASKS, layers=6, width=WIDTH, module_layers=4
    ),
    "paco of fewer sets": PaCo(FEATURES, OUTPUTS, TASKS, layers=2, width=WIDTH, sets=2),
    "care of deeper encoders": CARE(
        FEATURES, OUTPUTS, TASKS, layers=4, width=WIDTH, encoders=3, encoder_layers=3
    ),
    "care of shallow encoders": CARE(
        FEATURES, OUTPUTS, TASKS, layers=4, width=WIDTH, encoders=2, encoder_layers=1
    ),
}


@pytest.fixture(params=NETWORKS)
def net(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]
