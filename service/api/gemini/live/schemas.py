"""What a client of the Live API sends, in either casing at every level."""

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from service.api.gemini.contents import NAME, Content, Contents, FunctionResponse
from service.api.gemini.schemas import GenerateRequest, GenerationConfig
from service.api.gemini.tools import Tool
from service.api.gemini.wire import Neutral, Wire
from service.api.parsing import refused
from service.api.tools.offer import MAX_FUNCTIONS

NO_AUDIO = "this model reads no audio"
NO_IMAGES = "this model reads no images and no video"
ONLY_TEXT = 'this model speaks no audio: responseModalities must be ["TEXT"]'

MAX_TURNS = 512
"""Of one message. How many a conversation may have is a setting of its own."""


class LiveGenerationConfig(GenerationConfig):
    """A session gives one answer at a time; its messages have no place for logprobs."""

    neutral: ClassVar[Neutral] = {
        **{
            name: values
            for name, values in GenerationConfig.neutral.items()
            if name != "responseModalities"
        },
        "candidateCount": (1,),
        "responseLogprobs": (False,),
        "logprobs": (),
        "translationConfig": (),
    }

    response_modalities: list[str] = Field([], max_length=8)

    @model_validator(mode="after")
    def _speaks_text(self) -> Self:
        if any(word.upper() != "TEXT" for word in self.response_modalities):
            raise refused("responseModalities", ONLY_TEXT)
        return self


class RealtimeInputConfig(Wire):
    """How speech is detected, in audio that is never read. What the user says interrupts."""

    ignored = frozenset(
        ("automaticActivityDetection", "turnCoverage", "interimTranscriptTimestampEnabled")
    )
    neutral: ClassVar[Neutral] = {
        "activityHandling": ("ACTIVITY_HANDLING_UNSPECIFIED", "START_OF_ACTIVITY_INTERRUPTS"),
    }


class SessionResumption(Wire):
    neutral: ClassVar[Neutral] = {"transparent": (False,)}

    handle: str | None = Field(None, max_length=256)


class HistoryConfig(Wire):
    initial_history_in_client_content: bool = False


class Setup(GenerateRequest):
    """The first message: a request for content, all but the contents.

    Transcriptions are of audio, of which there is none."""

    ignored = frozenset(
        ("safetySettings", "labels", "inputAudioTranscription", "outputAudioTranscription")
    )
    neutral: ClassVar[Neutral] = {
        **GenerateRequest.neutral,
        "contents": ([],),
        "contextWindowCompression": ({},),
        "proactivity": ({},),
        "avatarConfig": (),
        "explicitVadSignal": (False,),
    }

    model: str = Field(min_length=1, max_length=256)
    contents: list[Content] = Field([], max_length=0)
    generation_config: LiveGenerationConfig = Field(
        default_factory=lambda: LiveGenerationConfig.model_validate({})
    )
    realtime_input_config: RealtimeInputConfig | None = None
    session_resumption: SessionResumption | None = None
    history_config: HistoryConfig | None = None

    @property
    def served_name(self) -> str:
        return self.model.removeprefix("models/")


class ClientContent(Wire):
    turns: Contents = Field([], max_length=MAX_TURNS)
    turn_complete: bool = False


class RealtimeInput(Wire):
    """activityStart and activityEnd stand around what a client marks as one utterance."""

    ignored = frozenset(("audioStreamEnd",))

    text: str | None = None
    activity_start: dict[str, Any] | None = None
    activity_end: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_media(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name in ("audio", "video", "mediaChunks", "media_chunks"):
            if data.get(name):
                raise refused(name, _why(name, data[name]))
        return data


def _why(name: str, given: Any) -> str:
    """Chunks of the old form say by their MIME type what they are."""
    if name == "audio":
        return NO_AUDIO
    chunks = given if isinstance(given, list) else [given]
    kinds = [chunk.get("mimeType", chunk.get("mime_type")) for chunk in chunks
             if isinstance(chunk, dict)]  # fmt: skip
    heard = name != "video" and any(str(kind).startswith("audio/") for kind in kinds)
    return NO_AUDIO if heard else NO_IMAGES


class LiveFunctionResponse(FunctionResponse):
    """Told apart by the id of the call; its name may be left out."""

    neutral: ClassVar[Neutral] = {
        **FunctionResponse.neutral,
        "scheduling": ("SCHEDULING_UNSPECIFIED", "INTERRUPT", "WHEN_IDLE"),
    }

    name: str = Field("", pattern=rf"{NAME}|^$")


class ToolResponse(Wire):
    function_responses: list[LiveFunctionResponse] = Field([], max_length=MAX_FUNCTIONS)


class NewTools(Wire):
    tools: list[Tool] = Field([])


class ContextUpdate(Wire):
    """From the next turn on; what is left out stays."""

    system_instruction: Content | None = None
    tools: NewTools | None = None


class ClientMessage(Wire):
    setup: Setup | None = None
    client_content: ClientContent | None = None
    realtime_input: RealtimeInput | None = None
    tool_response: ToolResponse | None = None
    context_update: ContextUpdate | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(
                "a message has exactly one of setup, clientContent, realtimeInput, toolResponse "
                "and contextUpdate"
            )
        return self
