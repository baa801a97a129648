"""Reasoning in OpenAI's words, and in vLLM's."""

from pydantic import BaseModel, ConfigDict, Field

from service.api.openai.sampling_fields import Integer, SamplingFields
from service.api.thinking.wish import Effort, Wish


class TemplateSwitches(BaseModel):
    """Of what chat templates read: the switch of reasoning, by either of its names."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ThinkingFields(SamplingFields):
    chat_template_kwargs: TemplateSwitches = TemplateSwitches()
    thinking_token_budget: Integer | None = Field(None, ge=0)
    include_reasoning: bool = True

    def wish_of(self, effort: Effort | None, param: str) -> Wish:
        """param: the name of the field that has the effort. Raises ApiError."""
        switches = self.chat_template_kwargs
        switch = switches.thinking if switches.enable_thinking is None else switches.enable_thinking
        wanted = "include_reasoning" in self.model_fields_set or effort not in (None, "none")
        if effort is None:
            param = "chat_template_kwargs" if switch is not None else "thinking_token_budget"
        return Wish(
            effort=effort,
            budget=self.thinking_token_budget,
            switch=switch,
            show=self.include_reasoning,
            show_vote=self.include_reasoning and wanted,
            param=param,
        )
