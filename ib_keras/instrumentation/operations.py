"""Kinds of Keras operations, by the names of their classes, because most classes are not public."""

# Activations that are operations of a functional model, such as keras.ops.relu(x).
ACTIVATIONS = frozenset(
    ["Celu", "Elu", "Gelu", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid",
     "LogSoftmax", "ReLU", "Relu", "Relu6", "Selu", "Sigmoid", "Silu", "Softmax", "Softplus",
     "Softsign", "SparsePlus", "Squareplus", "Tanh"]
)  # fmt: skip
# Operations whose output at each position depends only on the same position of the inputs.
ELEMENTWISE = ACTIVATIONS | {
    "Abs", "Absolute", "Add", "Average", "Cast", "Clip", "Divide", "Exp", "Expm1", "Log", "Log1p",
    "Maximum", "Minimum", "Multiply", "Negative", "Power", "Rsqrt", "Sqrt", "Square", "Subtract",
    "TrueDivide",
}  # fmt: skip
