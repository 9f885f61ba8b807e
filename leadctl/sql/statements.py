"""A cursor over the tokens of one statement."""

from leadctl.sql.lexer import Kind, Token, tokens


class Reader:
    """Reads a statement from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(tokens(text))
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self._next >= len(self._tokens)

    def peek(self, ahead: int = 0) -> Token:
        """Return a token without taking it; an empty symbol at the end."""
        index = self._next + ahead
        return (
            self._tokens[index]
            if index < len(self._tokens)
            else Token(Kind.SYMBOL, "", len(self.text))
        )

    def take(self) -> Token:
        """Take the next token."""
        token = self.peek()
        self._next += 1
        return token

    def accept(self, *words: str) -> bool:
        """Take these words where they are next; say whether they were."""
        if all(
            self.peek(i).word == word or self.peek(i).text == word for i, word in enumerate(words)
        ):
            self._next += len(words)
            return True
        return False

    def skip_if_exists(self) -> None:
        """Go behind IF EXISTS or IF NOT EXISTS."""
        self.accept("IF", "NOT", "EXISTS") or self.accept("IF", "EXISTS")

    def skip_to(self, *words: str) -> bool:
        """Go behind the next of these words outside parentheses; stay where there is none."""
        depth = 0
        for index in range(self._next, len(self._tokens)):
            token = self._tokens[index]
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if not depth and token.word in words:
                self._next = index + 1
                return True
        return False

    def has(self, *words: str) -> bool:
        """Whether these words stand together anywhere ahead."""
        return any(
            all(self._tokens[index + i].word == word for i, word in enumerate(words))
            for index in range(self._next, len(self._tokens) - len(words) + 1)
        )

    def name(self) -> str:
        """Take a name, qualified or not, and return it as `schema.name` or `name`."""
        parts = [self.take().name or ""]
        while self.accept("."):
            parts.append(self.take().name or "")
        return ".".join(parts)

    def parenthesised(self) -> "Reader | None":
        """Take what stands in the parentheses that are next, and return a reader of it."""
        if not self.accept("("):
            return None
        start, depth = self.peek().start, 1
        while not self.done:
            token = self.take()
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if not depth:
                return Reader(self.text[start : token.start])
        return Reader(self.text[start:])

    def until_comma(self) -> "Reader":
        """Take what stands before the next comma outside parentheses, and the comma."""
        start, depth = self.peek().start, 0
        while not self.done:
            token = self.take()
            depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
            if token.text == "," and not depth:
                return Reader(self.text[start : token.start])
        return Reader(self.text[start:])

    def rest(self) -> str:
        """Return the text from here on."""
        return self.text[self.peek().start :].strip()

    def words(self) -> list[str]:
        """Return the words ahead."""
        return [token.word for token in self._tokens[self._next :] if token.word]

    def called(self) -> list[str]:
        """Return the names ahead that are called as functions, and SQL's parameterless ones."""
        found = []
        for index in range(self._next, len(self._tokens)):
            token = self._tokens[index]
            following = self._tokens[index + 1].text if index + 1 < len(self._tokens) else ""
            if (
                token.name
                and following == "("
                and token.word not in {"VALUES", "IN", "ARRAY", "AND"}
            ):
                found.append(token.name)
        return found
