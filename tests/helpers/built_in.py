"""The built-in networks as small models, for tests of what is done with them."""

from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.networks import registry


def small_model(name="cnn", *, image_size, channels=1, num_classes=2, **settings):
    """A network of the registry by its settings; the cnn is small unless they say otherwise."""
    if name == "cnn":
        settings = {"depth": 2, "width": 4, **settings}
    image_format = ImageFormat(image_size=image_size, channels=channels)
    config = ModelSettings(model=name, **settings)
    return registry.build(registry.resolve(name), config, image_format, num_classes)
