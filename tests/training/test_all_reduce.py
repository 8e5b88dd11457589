import pytest
import tensorflow as tf
from tensorflow.python.ops import custom_gradient

from engine.training import all_reduce


def test_other_custom_gradients_still_find_their_variables():
    variable = tf.Variable(3.0)

    @tf.custom_gradient
    def scaled(x):
        def gradient(upstream, variables=None):
            return upstream * variable, [upstream * x for _ in variables]

        return x * variable, gradient

    @tf.function(autograph=False)
    def gradients(x):
        with all_reduce.without_search(), tf.GradientTape() as tape:
            tape.watch(x)
            y = scaled(x)
        return tape.gradient(y, [x, variable])

    assert [float(g) for g in gradients(tf.constant(2.0))] == [3.0, 2.0]


def test_what_is_replaced_is_put_back_after_an_error():
    before = custom_gradient._get_dependent_variables, tf.distribute.ReplicaContext.all_reduce
    with pytest.raises(ValueError, match="inside"), all_reduce.without_search():
        assert custom_gradient._get_dependent_variables is not before[0]
        raise ValueError("inside")
    after = custom_gradient._get_dependent_variables, tf.distribute.ReplicaContext.all_reduce
    assert before == after
