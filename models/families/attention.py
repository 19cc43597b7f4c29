"""Graph networks in which edges weigh what hits tell each other (ResAGNN and its kin), one row per forward of each code base."""

from __future__ import annotations

from functools import partial

from trkx.models.families.attention_forms import Form
from trkx.models.families.attention_reading import read_form
from trkx.models.families.layouts import COMMON, COMMON_EARLY, TRACKML
from trkx.models.families.reading import Family

_NESTED = ("input_network", "edge_network.network", "node_network.network")
_ENCODED = ("node_encoder", "edge_network", "node_network")
_ANY_LAYER_NORM = (TRACKML, COMMON)
_CHECKPOINTED = ("CheckpointedResAGNN", "SliceCheckpointedResAGNN")

FORMS: tuple[Form, ...] = (
    Form(
        "resagnn", "ResAGNN of TrackML_Example and the LRT chain of ctd2022",
        "node network reads [messages of both directions in one sum, state]; inputs are kept beside the state",
        ("ResAGNN",), (TRACKML,), _NESTED, wide_edges=True,
    ),
    Form(
        "resagnn-in-out", "ResAGNN of exatrkx-iml2020",
        "node network reads [incoming messages, outgoing messages, state]; inputs are kept beside the state",
        ("ResAGNN",), (TRACKML,), _NESTED, ("incoming", "outgoing", "node"), wide_edges=True, encoder_layers=1,
        depths=("nb_layer", "nb_layer"), doubles=False,
    ),
    Form(
        "resagnn-itk", "ResAGNN of ITk_Example",
        "node network reads [messages of both directions in one sum, state]; inputs are not kept",
        ("ResAGNN",), (TRACKML,), _NESTED, shortcut=False,
    ),
    Form(
        "checkpointed-resagnn-trackml", "CheckpointedResAGNN of TrackML_Example, ResAGNN of ctd2022's models_trackML",
        "node network reads [state, messages of both directions in one sum]; inputs are kept beside the state",
        (*_CHECKPOINTED, "ResAGNN"), (TRACKML,), _ENCODED, ("node", "both"), encoder_layers=1,
    ),
    Form(
        "checkpointed-resagnn", "CheckpointedResAGNN of ITk_Example and Common_Tracking_Example",
        "an activation (after the norm, if any) ends the node network; hidden_activation in all of input_network",
        _CHECKPOINTED, _ANY_LAYER_NORM, wide_edges=True, encoder_relu=False, node_output=True,
    ),
    Form(
        "vanilla-resagnn", "VanillaResAGNN of ITk_Example, first VanillaCheckResAGNN",
        "the node network ends with a Linear; hidden layers of input_network are ReLU",
        ("VanillaResAGNN", "VanillaCheckResAGNN"), _ANY_LAYER_NORM, wide_edges=True,
    ),
    Form(
        "vanilla-check-resagnn", "VanillaCheckResAGNN of Common_Tracking_Example, archived",
        "messages go from source to target only; encoder and node network end with a Linear",
        ("VanillaCheckResAGNN",), _ANY_LAYER_NORM, _ENCODED, ("incoming", "node"), shortcut=False, aggregates=True,
        encoder_relu=False, encoder_output=False,
    ),
    Form(
        "directed-check-resagnn", "DirectedCheckResAGNN of Common_Tracking_Example",
        "node network reads [messages to targets, messages to sources, state]; inputs are not kept",
        ("DirectedCheckResAGNN",), _ANY_LAYER_NORM, node_inputs=("incoming", "outgoing", "node"), shortcut=False, aggregates=True,
    ),
    Form(
        "checkpointed-pyramid-itk", "CheckpointedPyramid of ITk_Example",
        "node network reads [state, messages of both directions in one sum] and replaces the state",
        ("CheckpointedPyramid",), (TRACKML,), _ENCODED, ("node", "both"), shortcut=False, residual=False, node_output=True,
        halving=("encoder", "edge", "node"), pyramid=True,
    ),
    Form(
        "checkpointed-pyramid", "CheckpointedPyramid of Common_Tracking_Example",
        "messages go from source to target only; an activation (after the norm, if any) ends encoder and node network",
        ("CheckpointedPyramid",), _ANY_LAYER_NORM, _ENCODED, ("incoming", "node"), shortcut=False, aggregates=True,
        node_output=True, halving=("edge",),
    ),
    Form(
        "checkpointed-pyramid-archived", "CheckpointedPyramid of Common_Tracking_Example, archived",
        "messages go from source to target only; encoder and node network end with a Linear",
        ("CheckpointedPyramid",), (COMMON_EARLY, COMMON), _ENCODED, ("incoming", "node"), shortcut=False, aggregates=True,
        encoder_relu=False, encoder_output=False, halving=("edge",), batch_norm=True,
    ),
)
"""One row per forward; docs/families/attention.md names files and versions."""

KNOWN = frozenset(name for form in FORMS for name in form.classes)
ATTENTION_FAMILIES: tuple[Family, ...] = tuple(
    Family(form.name, "gnn", form.title, form.forward, partial(read_form, form, KNOWN), "attention.md") for form in FORMS
)
