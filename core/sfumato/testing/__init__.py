"""Laws that parts of a plugin must obey, as functions to call in its tests.

    from sfumato.testing import check_operator, check_plugin

    def test_the_plugin_keeps_its_contract():
        check_plugin(PLUGIN, signal=example, tasks=[PLUGIN.operator("gaps", noise=0.1)])

Each raises an ``AssertionError`` that names the law, what was found and what was expected. The same
functions test what is shipped here: first-party plugins have no privilege that a third party lacks.
"""

from sfumato.testing.formats import check_format
from sfumato.testing.machines import check_machine
from sfumato.testing.operators import check_operator
from sfumato.testing.plugins import check_plugin
from sfumato.testing.processes import check_process
from sfumato.testing.samplers import check_sampler
from sfumato.testing.token_samplers import check_token_sampler
from sfumato.testing.tokens import check_token_denoiser

__all__ = [
    "check_format",
    "check_machine",
    "check_operator",
    "check_plugin",
    "check_process",
    "check_sampler",
    "check_token_denoiser",
    "check_token_sampler",
]
