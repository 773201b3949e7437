"""Conversations that try out what chat templates do, as variables of a template."""

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather at a place; returns °C & \"sky\".",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "City, e.g. Zürich or 北京"},
        "unit": {"type": "string", "description": "", "enum": ["C", "F"], "default": "C"},
        "days": {"type": "array", "description": "From today.", "items": {"type": "integer"}, "minItems": 1}}, "required": ["place"]},
    "return": {"type": "object", "properties": {"t": {"type": "number"}}}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Finds pages.\nOne query at a time.",
    "parameters": {"type": "object", "properties": {
        "query": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "limit": {"type": ["integer", "null"], "maximum": 1e3},
        "options": {"type": "object", "properties": {"safe": {"type": "boolean"}}, "additionalProperties": False}},
        "required": ["query", "limit"]}}}
NO_PARAMETERS = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, number):
    return {"type": "function", "id": f"call{number:05d}", "function": {"name": name, "arguments": arguments}}


def answer(text, number, name="get_weather"):
    return {"role": "tool", "content": text, "tool_call_id": f"call{number:05d}", "name": name}


ODD = "  spaces \t\n\nlines\r\n \u3000wide <|im_end|> {{ x }} {% y %} 'q' \"d\" \\ & <b>é😀مرحبا\u2028 \x7f end \n"
CALLED = [user("Weather in Zürich?"), assistant("", tool_calls=[call("get_weather", {"place": "Zürich", "days": [1, 2], "deep": {"x": None}}, 1)]),
          answer('{"t": 21.5, "sky": "clear"}', 1)]
TWO_CALLS = [system("Be brief."), user("Paris and Rome?"),
             assistant("Let me look.", tool_calls=[call("get_weather", {"place": "Paris", "unit": "C"}, 1), call("search", {"query": None, "limit": 3.0}, 2)]),
             answer("20", 1), answer("[1, 2]", 2, "search"), assistant("20 in Paris."), user("Thanks"),
             assistant(None, tool_calls=[call("now", {}, 3)]), answer("", 3, "now")]
THOUGHT = "<think>\nFirst this,\nthen that.\n</think>\n\nThe answer is 4."


def cases():
    """(name, variables) pairs; the variables lack the special tokens."""
    two_turns = [user("Hello"), assistant("Hi! How can I help?"), user("What is 2 + 2?")]
    plain = {
        "user": [user("Hello")],
        "system": [system("You are terse."), user("Hello")],
        "two_turns": two_turns,
        "system_turns": [system(" Two\nlines "), *two_turns, assistant("  4  "), user("And 3 + 3?")],
        "odd": [system(ODD), user(ODD), assistant(ODD), user(ODD)],
        "empty": [system(""), user(""), assistant(""), user("")],
        "long": [user("a"), assistant("b")] * 12 + [user("c")],
        "ends_with_assistant": [*two_turns, assistant("2 + 2 = 4")],
        "thought": [user("What is 2 + 2?"), assistant(THOUGHT), user("Sure?")],
        "reasoning": [user("2 + 2?"), assistant("4", reasoning_content="\nTwo and two.\n"), user("Sure?")],
        "late_system": [user("Hello"), system("Now be terse."), user("Hello again")],
        "two_users": [user("Hello"), user("Still there?")],
        "parts": [user([{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]), assistant("Hi"), user("Ok")],
        "called_without_tools": CALLED,
        "developer": [{"role": "developer", "content": "Reply in French."}, user("Hello")],
        "unknown_role": [{"role": "wizard", "content": "Abracadabra"}, user("Hello")],
    }
    for name, messages in plain.items():
        yield name, {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
    yield "no_generation_prompt", {"messages": two_turns, "tools": None, "documents": None, "add_generation_prompt": False}
    with_tools = {
        "tools": ([user("Weather in Zürich?")], [WEATHER]),
        "many_tools": ([system("Use tools."), user("Hello")], [WEATHER, SEARCH, NO_PARAMETERS]),
        "called": (CALLED, [WEATHER]),
        "called_and_answered": ([*CALLED, assistant("It is 21.5 °C."), user("And tomorrow?")], [WEATHER, SEARCH]),
        "two_calls": (TWO_CALLS, [WEATHER, SEARCH, NO_PARAMETERS]),
    }
    for name, (messages, tools) in with_tools.items():
        for prompt in (True, False):
            yield f"{name}/{prompt}", {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt}
    for name, more in {
            "thinking_off": {"enable_thinking": False}, "thinking_on": {"enable_thinking": True, "thinking": True},
            "effort": {"reasoning_effort": "high", "model_identity": "You are a test."},
            "date": {"date_string": "01 Jan 2025"}, "documents": {"documents": [{"title": "T1", "text": "Text \"one\".", "doc_id": 1}, {"title": "", "text": ODD}]},
            "other_kwargs": {"tools_in_user_message": False, "custom_tools": None, "keep_past_thinking": True, "available_tools": ["browser"]}}.items():
        yield name, {"messages": [system("S"), *two_turns], "tools": None, "documents": None, "add_generation_prompt": True, **more}
