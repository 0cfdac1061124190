"""Typed errors. Each message says what was got, what was expected and what to do about it."""


class LayerFlowError(Exception):
    """Root of every error this package raises on purpose."""

    exit_status = 1
    """Of a command that ends with it."""


class LayoutError(LayerFlowError):
    """A layout is unknown, contradicts itself, or does not fit the tensors it is used with."""


class CheckpointError(LayerFlowError):
    """A weight file is broken, incomplete, or not what it claims to be."""


class MissingPartError(CheckpointError):
    """A checkpoint has no text encoder, tokenizer or VAE, and the work at hand needs it."""


class FrameError(LayerFlowError):
    """Pixels of a wrong shape, count, range or type."""


class PromptError(LayerFlowError):
    """Prompts are missing or name a layer that the layout does not have."""


class SamplingError(LayerFlowError):
    """Step count, guidance, solver or seed outside what the sampler can do."""


class VideoFileError(LayerFlowError):
    """A video or image file cannot be read, or a folder cannot be written."""


class DatasetError(LayerFlowError):
    """Training data is missing, damaged or contradicts itself; the message names the file."""


class TrainingError(LayerFlowError):
    """A training is configured in a way that cannot run, or its state does not fit its configuration."""


class EvaluationError(LayerFlowError):
    """A result cannot be measured, or something that a measure needs is missing; the message names it."""


class BatchError(LayerFlowError):
    """A list of shots has mistakes, or its machines cannot be used; nothing was run."""


class FailedShotsError(BatchError):
    """Some shots of a batch failed; all others are done."""

    exit_status = 3


class DownloadError(LayerFlowError):
    """A released file cannot be fetched, or is not what its repository says."""


class OutOfMemoryError(LayerFlowError):
    """Not even the plan that needs least fits into memory."""


class PartlyLoadedError(LayerFlowError):
    """The host brought only some of a part's weights to the device; counts as out of memory."""


class Cancelled(LayerFlowError):
    """The user asked to stop; raised between two steps or stretches of work."""
