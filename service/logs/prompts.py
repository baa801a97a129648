"""What was asked and answered, for a log that is to have it: `log_prompts`."""

from service.api.internal import Chat, Input, PlainText
from service.logs.record import MAX_TEXT, current_record


def note_prompt(given: Input) -> None:
    """The end of it, which has the question."""
    record = current_record.get()
    if record is not None:
        record.prompt = _written(given)


def note_answer(place: object, text: str) -> None:
    record = current_record.get()
    if record is not None:
        record.said(place, text)


def _written(given: Input) -> str:
    match given:
        case PlainText(text):
            return text[-MAX_TEXT:]
        case Chat(messages):
            written = ""
            for message in reversed(messages):
                written = f"{message.role}: {message.content[-MAX_TEXT:]}\n{written}"
                if len(written) > MAX_TEXT:
                    break
            return written.strip()[-MAX_TEXT:]
        case _:
            return f"{len(given.ids)} token ids"
