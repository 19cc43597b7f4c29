"""Which operators TensorRT's ONNX parser takes, and of which types: the table in its documentation, as of TensorRT 10.15.

https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
Floats are FP32, FP16 and BF16, integers INT32 and INT64. Types that stand for quantised numbers, UINT8 (at the doors only) and
DOUBLE are left to other rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

_T = onnx.TensorProto
_LETTERS: Mapping[str, frozenset[int]] = {
    "F": frozenset((_T.FLOAT, _T.FLOAT16, _T.BFLOAT16)), "f": frozenset((_T.FLOAT, _T.FLOAT16)), "s": frozenset((_T.FLOAT,)),
    "I": frozenset((_T.INT32, _T.INT64)), "B": frozenset((_T.BOOL,)),
}
_LISTED: Mapping[str, str] = {
    "F": """
        Acos Acosh Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos Cosh
        CumSum Dropout Einsum Elu Erf Exp Floor Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization GRU
        HardSigmoid HardSwish Hardmax InstanceNormalization IsInf LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
        LpPool LRN LSTM MatMul MaxPool MeanVarianceNormalization ParametricSoftplus PRelu QuantizeLinear RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike Reciprocal Resize RMSNormalization RNN RotaryEmbedding Round ScaledTanh
        Scan Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample
    """,
    "FI": """
        Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod Mul Neg
        Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK
    """,
    "FIB": """
        Cast CastLike Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity OneHot
        Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where
    """,
    "B": "And Not Or Xor",
    "f": "BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression RoiAlign",
    "s": "STFT",
}
TYPES: Mapping[str, frozenset[int]] = {
    name: frozenset[int]().union(*(_LETTERS[letter] for letter in letters))
    for letters, names in _LISTED.items()
    for name in names.split()
}
"""Operator to the element types of what it reads. If and Loop pass on what they are given; NonZero is a rule's own matter."""
READS: Mapping[str, int] = {"Where": 1, "OneHot": 2, "ConstantOfShape": -1, "Constant": -1}
"""Operator to the input that the types are of, if not the first; -1: the result."""
LAYER_HAS = frozenset((("CumSum", _T.INT32), ("CumSum", _T.INT64)))
"""Operator and type that the table does not list, though TensorRT's page of the layer has it and the parser lets it through:
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/Cumulative.html
"""
JUDGED = frozenset[int]().union(*_LETTERS.values())
"""Types that the table is asked about."""
_LACKING = """
    AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress ConcatFromSequence
    ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial
    NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss
    SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique
"""
LACKING = frozenset(_LACKING.split())
"""Rows with "N"."""
