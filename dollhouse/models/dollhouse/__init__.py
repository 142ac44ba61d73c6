"""The Dollhouse student; importing this registers it with transformers' Auto classes."""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor

AutoConfig.register(DollhouseConfig.model_type, DollhouseConfig, exist_ok=True)
AutoModelForImageTextToText.register(DollhouseConfig, DollhouseForConditionalGeneration, exist_ok=True)
AutoImageProcessor.register(DollhouseConfig, slow_image_processor_class=DollhouseImageProcessor, exist_ok=True)
AutoProcessor.register(DollhouseConfig, DollhouseProcessor, exist_ok=True)
