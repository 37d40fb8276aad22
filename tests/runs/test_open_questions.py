"""Each question of a run ends once, whatever happens at the same time."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dockrion.backends.run_log import WaitingFor
from dockrion.errors import QuestionNotOpen
from dockrion.events import EventFilter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.open_questions import OpenQuestions
from dockrion.runs.question import Question


class Answers(RuleBasedStateMachine):
    """Questions of a run under any interleaving of answers, limits, withdrawals and the end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.results: dict[str, list[Any]] = {}
        self.published: list[tuple[str, str]] = []
        self.record: WaitingFor | None = None
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.buffer = EventBuffer(
            "r", self.loop, lambda: None, lambda _stop: None, max_event_bytes=10_000, max_events=10_000
        )
        self.questions = OpenQuestions(EventFilter(), self.buffer, None, self._hide)

    async def _hide(self, answer: object) -> None:
        raise AssertionError(f"{answer} is not secret")

    def teardown(self) -> None:
        self.questions.end()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _drain(self) -> None:
        """Look at what was published, and at what the record shows after it."""
        self.loop.run_until_complete(asyncio.sleep(0))
        while self.buffer.pending:
            entries, changes = self.buffer.pop_batch()
            self.published += [
                (entry.type, msgspec.json.decode(entry.data)["request_id"]) for entry in entries
            ]
            self.record = changes.get("waiting_for", self.record)

    @rule(number=st.integers(1, 3))
    def ask(self, number: int) -> None:
        first = len(self.results)
        asked = [Question("?", timeout=60, request_id=f"q{first + n}") for n in range(number)]
        for question in self.loop.run_until_complete(self.questions.open_all(asked)):
            results = self.results.setdefault(question.shown.request_id, [])
            question.answer.add_done_callback(results.append)

    @rule(data=st.data(), times=st.integers(1, 3))
    def answer(self, data: st.DataObject, times: int) -> None:
        request_id = data.draw(st.sampled_from(list(self.results) or ["nobody"]))
        is_open = request_id in self.questions._open

        async def all_at_once() -> list[Any]:
            answers = [self.questions.answer(request_id, number, None) for number in range(times)]
            return await asyncio.gather(*answers, return_exceptions=True)

        results = self.loop.run_until_complete(all_at_once())
        accepted = [each for each in results if not isinstance(each, BaseException)]
        assert len(accepted) == is_open

    @rule(data=st.data(), how=st.sampled_from(["withdraw", "expire", "cancel"]))
    def close(self, data: st.DataObject, how: str) -> None:
        if not len(self.questions):
            return
        question = self.questions._open[data.draw(st.sampled_from(list(self.questions._open)))]
        if how == "withdraw":
            self.questions.withdraw(question)
        elif how == "expire":
            self.questions._expire(question)
        else:  # the agent's task is cancelled, and withdraws the question a turn later
            question.answer.cancel()
            with pytest.raises(QuestionNotOpen):
                self.loop.run_until_complete(self.questions.answer(question.shown.request_id, 1, None))
            self.questions.withdraw(question)

    @rule()
    def end(self) -> None:
        self.questions.end()

    @invariant()
    def each_question_ends_once(self) -> None:
        self._drain()
        for request_id, results in self.results.items():
            is_open = request_id in self.questions._open
            assert len(results) == (not is_open)
            assert self.published.count(("input_requested", request_id)) == 1
            answered = any(not each.cancelled() and each.exception() is None for each in results)
            assert self.published.count(("input_received", request_id)) == answered

    @invariant()
    def the_record_shows_the_oldest_question(self) -> None:
        oldest = next(iter(self.questions._open.values()), None)
        if oldest is not None:
            assert self.record == oldest.shown


TestAnswers = Answers.TestCase
TestAnswers.settings = settings(max_examples=60, stateful_step_count=25)
