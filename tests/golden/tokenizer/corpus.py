"""Text to compare tokenizers on: thirty languages, code, markup, emoji, digits, odd spaces, added tokens inside, random
Unicode. Made from a seed; no text files."""
import random

# A few everyday words per language; the generator also makes words of the language's own letters.
LANGUAGES = {
    "English": "the of and to in is you that it was for on are with as his they be at one have this from or had by not don't we'll it's I'm they've you'd won't John's CAN'T WE'RE",
    "German": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass größe straße Übermaß schön geht's",
    "French": "le de un être et à il avoir ne je son que se qui ce dans en du elle au l'été c'est aujourd'hui où garçon français œuvre naïf qu'il d'accord",
    "Spanish": "de la que el en y a los se del las un por con no una su para es al lo como más pero sus año niño corazón ¿qué ¡hola pingüino",
    "Portuguese": "de a o que e do da em um para é com não uma os no se na por mais as dos coração ação pão você também irmã",
    "Italian": "di che è e la il un a per in una mi sono ho non ma lo ha le si ti i con cosa perché città l'acqua dell'anno",
    "Dutch": "de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar om hem zo'n foto's geïnd",
    "Polish": "w i na z do się nie to że jest o jak za od po przez ale dla są źdźbło łódź część święto gżegżółka",
    "Czech": "a se v na je že o s z do i to k ve pro za by ale si po jsem řeka žluťoučký kůň příliš úpěl ďábelské ódy",
    "Romanian": "de și în a la cu pe un o nu că este se din care mai pentru ca sunt fi ţară şi împărat mâine țânțar",
    "Hungarian": "a az és hogy nem is egy ez meg de volt csak már mint ha árvíztűrő tükörfúrógép őrült",
    "Swedish": "och i att det som en på är av för med till den har de inte om ett han men räksmörgås ångström över",
    "Finnish": "ja on ei se että hän oli mutta ovat kun niin myös joka tai kuin yötyö hääyöaie pöllö",
    "Turkish": "bir ve bu da için de o ne çok gibi daha kadar ben ama İstanbul ığdır şoför çağrı öğün güneş",
    "Vietnamese": "là và của có không một người trong được cho những các với để này khi đã tiếng Việt nghĩa trường đường phở bánh mì",
    "Indonesian": "yang dan di ini untuk dengan itu dari dalam tidak akan pada juga saya ke karena orang-orang kupu-kupu",
    "Greek": "και το να του της με που για είναι στο την από τα των δεν θα ένας ελληνικά ΕΛΛΆΔΑ ώρα ϊός ΰπνος",
    "Russian": "и в не на я быть он с что а по это она этот к но они мы весь который ёлка подъезд Москва мой чай",
    "Ukrainian": "і в не на що я з він до як це за від та про її п'ять ґанок їжак є Київ",
    "Bulgarian": "на и да се от за с че в по не е са като това ще съм ъгъл йод",
    "Arabic": "في من على إلى أن هذا التي الذي كان مع هو لا ما عن قال السَّلامُ عَلَيْكُم ١٢٣ العربيّة مُحَمَّد",
    "Persian": "و در به از که این را با است برای آن یک خود می‌شود کتاب‌ها ۱۲۳ ژاله گچ پارسی",
    "Hebrew": "של את על לא הוא כי זה עם גם היא שָׁלוֹם בְּרֵאשִׁית ירושלים צה״ל ג׳ירפה",
    "Hindi": "के है में की और से को का एक पर यह नहीं हैं ने हो क़लम ज़िन्दगी हिन्दी विद्या १२३ क्षत्रिय ड़",
    "Bengali": "এই ও না করে থেকে একটি তার হয় যে আমি বাংলা কৃষ্ণ ঢাকা ১২৩ ড়ঢ়য়",
    "Tamil": "ஒரு என்று இந்த அது நான் தமிழ் கொண்டு மற்றும் ௧௨௩ ஸ்ரீ",
    "Thai": "ที่ การ และ ใน เป็น ของ ไม่ มี ได้ ว่า ให้ น้ำใจ กรุงเทพฯ ๑๒๓ ก็ ปี่",
    "Chinese": "的 一 是 不 了 在 人 有 我 他 这 中国 大 来 上 国家 请解释牛顿第一定律 并举例说明 龍馬精神 ，。！？「引号」 １２３",
    "Japanese": "の に は を た が で て と し れ さ ある いる 日本語 カタカナ ひらがな がぎぐげご ﾊﾝｶｸ 東京都 です。 々 ー",
    "Korean": "이 그 저 것 수 하다 있다 되다 않다 한국어 안녕하세요 서울특별시 각 한글 ㅋㅋㅋ",
    "Georgian": "და არ ეს რომ იყო მე საქართველო თბილისი ᲥᲐᲠᲗᲣᲚᲘ",
    "Amharic": "እና ነው ላይ ውስጥ አማርኛ ኢትዮጵያ ፩፪፫",
}

CODE = [
    "def f(x, y=0):\n    return [i**2 for i in range(x) if i % 2 == 0]\n",
    "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];\n\t}\r\n",
    '#include <vector>\nint main() { std::cout << "Hello\\n"; return 0x7fFF; }',
    "SELECT * FROM users WHERE id = 42 AND name LIKE '%O''Reilly%';--comment",
    '{"a": [1, 2.5e-10, null], "b": {"c": "\\u00e9"}}',
    "<div class=\"x\"><!-- c --><a href='http://e.org/?q=1&r=2#f'>t</a></div>",
    "# Title\n\n* item **bold** `code`\n\n\n```py\nx = 1\n```\n| a | b |\n|---|---|\n",
    "\\begin{equation} E = mc^2 \\alpha_{i,j} \\end{equation}", "fn main() { let s: &'static str = \"x\"; s.len()?; }",
    "git commit -m 'fix' && ./run.sh --flag=1 2>&1 | tee log.txt", "AAAA====//++ 9f86d081884c7d659a2feaa0c55ad015",
]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "🇩🇪🇫🇷", "👍🏽", "✂︎", "☃", "🫠", "1️⃣", "🤷🏻‍♀️", "ﷺ", "𝕳𝖊𝖑𝖑𝖔", "①Ⅷ½²", "Ａｂｃ"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\n \n", " \t ", "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028",
          "\x0b", "\x0c", "\x85", "\u1680", "\u202f", "        ", "\n    ", "\r", "\ufeff", "\u200d", "\u180e"]
ODD = ["'s", "'S", "'ll", "'LL", "'ſ", "'K", "''", "'re", "'Ve", "don't", "...", "!!!", "?!\n\n", "—", "«»", "-", "_", "$€£", "\x00",
       "\x7f", "e\u0301", "\u0301", "A\u030a", "\u1100\u1161\u11a8", "가\u11a8", "\u212b", "\u0958", "q\u0307\u0323", "\u0344",
       "\ufb01", "\U0001d15e", "\ue000", "\ufffd", "\U0010fffd", "\u0378"]
MARKS = [chr(c) for c in (*range(0x300, 0x370), 0x5b0, 0x5bc, 0x64b, 0x651, 0x94d, 0x93c, 0xe38, 0xe48, 0x3099, 0x302a, 0x1dce,
                          0x1133c, 0x1d165, 0x1e8d0, 0x8d3, 0x1abf, 0x11d42, 0x10d24, 0x11930)]


def word_of(rng: random.Random, words: list[str]) -> str:
    kind = rng.random()
    word = rng.choice(words)
    if kind < 0.55:
        return word
    if kind < 0.7:
        letters = "".join(words).replace("'", "")
        return "".join(rng.choice(letters) for _ in range(rng.randint(1, 12)))
    if kind < 0.8:
        return rng.choice((word.upper(), word.capitalize(), word.swapcase()))
    if kind < 0.9:
        return word + rng.choice(words)
    return word + rng.choice((",", ".", "!", "?", ":", ";", "\"", ")", "...", "。", "、"))


def number(rng: random.Random) -> str:
    return rng.choice((str(rng.randint(0, 99)), str(rng.getrandbits(rng.randint(1, 80))), f"{rng.uniform(-1e6, 1e6):,.3f}",
                       f"{rng.randint(1, 31):02}.{rng.randint(1, 12):02}.{rng.randint(1900, 2100)}", "1/2", "3.14e-10", "0xFF"))


def extra(rng: random.Random, added: list[str]) -> str:
    kind = rng.random()
    if kind < 0.25:
        return number(rng)
    if kind < 0.4:
        return rng.choice(CODE)
    if kind < 0.55:
        return rng.choice(EMOJI) * rng.randint(1, 4)
    if kind < 0.7:
        token = rng.choice(added)
        return rng.choice((token, token, token[:-1], token[1:], token + token, token + rng.choice(added), " " + token + "\n"))
    if kind < 0.85:
        return rng.choice(ODD)
    if kind < 0.93:
        return rng.choice("ab1!<'") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 6)))
    return rng.choice(("a", "é", "中", "!", "=", "-", "1", "'", "😀", "\n")) * rng.randint(2, 70)


def space(rng: random.Random) -> str:
    if rng.random() < 0.8:
        return " "
    return "".join(rng.choice(SPACES) for _ in range(rng.randint(0, 4)))


def lines(count: int, seed: int, added: list[str]) -> list[str]:
    """`count` texts, cycling through the languages."""
    rng = random.Random(seed)
    result = []
    for i in range(count):
        words = list(LANGUAGES.values())[i % len(LANGUAGES)].split()
        parts = []
        for _ in range(rng.randint(1, 40)):
            parts.append(extra(rng, added) if rng.random() < 0.12 else word_of(rng, words))
            if words[0] not in ("的", "の", "ที่") or rng.random() < 0.2:
                parts.append(space(rng))
        result.append("".join(parts))
    return result


def random_unicode(count: int, seed: int) -> list[str]:
    """Texts of random scalar values, from everywhere or from one narrow block."""
    rng = random.Random(seed)
    result = []
    for _ in range(count):
        low, high = rng.choice(((0, 0x80), (0, 0x250), (0x300, 0x370), (0, 0x3000), (0x3000, 0xd800), (0xe000, 0x10000),
                                (0x10000, 0x20000), (0x20000, 0x30000), (0, 0x110000), (0x1f300, 0x1fb00)))
        narrow = rng.random() < 0.5
        start = rng.randrange(low, high)
        text = []
        for _ in range(rng.randint(1, 60)):
            c = start + rng.randrange(64) if narrow else rng.randrange(low, high)
            if rng.random() < 0.1:
                c = rng.choice((0x20, 0x0a, 0x61, 0x27, 0x31, 0x301, 0x3099))
            if c < 0x110000 and not 0xd800 <= c < 0xe000:
                text.append(chr(c))
        result.append("".join(text))
    return result


def every_code_point() -> list[str]:
    """Every scalar value once, between neighbours that show its class and its normalisation."""
    result = []
    for page in range(0, 0x110000, 64):
        chars = [chr(c) for c in range(page, page + 64) if not 0xd800 <= c < 0xe000]
        if chars:
            result.append("".join(chars))
            result.append("".join(f"a{c}b {c} 1{c}\u0301{c}\n" for c in chars))
    return result
