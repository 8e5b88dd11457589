"""In which precisions this machine computes fast."""

from engine.base.processor import processor_flags

_BFLOAT16_UNITS = {"amx_bf16", "avx512_bf16"}
_LEAST_CAPABILITY = {"mixed_float16": (7, 0), "mixed_bfloat16": (8, 0)}  # of an NVIDIA GPU


def fast_here() -> tuple[str, ...]:
    """The dtype policies, float32 apart, that a model trained in them should be used in here."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        return tuple(name for name, least in _LEAST_CAPABILITY.items() if capability >= least)
    return ("mixed_bfloat16",) if _BFLOAT16_UNITS & processor_flags() else ()
