# SPDX-License-Identifier: Apache-2.0
"""Lines of text in many scripts and of every oddity that Unicode has, the same on every machine: for comparing tokenizers."""

import random
import sys

PHRASES = [
    "The quick brown fox jumps over the lazy dog; it didn't mind, I'll say.",
    "We've measured 3,141.59 units on 2024-02-29 at 17:05, haven't we?",
    "Ça va, Noël? L'œuvre d'été coûte 12 €, naïve façade à côté.",
    "Größe, Straße und Übermut: süße Äpfel kosten 5,50 €.",
    "El pingüino español comió piñas. ¿Cuánto? ¡Muchísimo!",
    "Zażółć gęślą jaźń, łódź w Gdańsku — święto źródła.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "İstanbul'da ılık bir gün, şığ çeşme ve ağaç.",
    "Đường phố Hà Nội rất đông người vào buổi chiều; phở ngon lắm.",
    "Íslendingar þurfa að æfa sig, ærið oft, ðe ÞÆ.",
    "Быстрая коричневая лиса прыгает через ленивую собаку, ёлки-палки!",
    "Україна: їжак з'їв гриб; ґанок і щастя.",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από το σκυλί· ὁ ἄνθρωπος ᾧ.",
    "הכלב החום קפץ מעל הגדר, שָׁלוֹם עֲלֵיכֶם!",
    "الثعلب البني السريع يقفز فوق الكلب، مَرْحَبًا بِكُمْ ٣٤٥.",
    "روباه قهوه‌ای می‌پرد؛ چه خبر؟",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। नमस्ते १२३।",
    "দ্রুত বাদামী শিয়াল অলস কুকুরের উপর লাফ দেয়। ৫৬৭",
    "வேகமான பழுப்பு நரி சோம்பேறி நாயின் மீது குதிக்கிறது.",
    "వేగవంతమైన గోధుమ రంగు నక్క సోమరి కుక్కపై దూకుతుంది.",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ ๔๕๖",
    "ໝາຈິ້ງຈອກສີນ້ຳຕານໄວໂດດຂ້າມໝາຂີ້ຄ້ານ",
    "လျင်မြန်သော အညိုရောင်မြေခွေးသည် ခွေးကို ကျော်ခုန်သည်။",
    "កញ្ជ្រោងពណ៌ត្នោតរហ័សលោតពីលើឆ្កែខ្ជិល។",
    "མགྱོགས་པོའི་སྦྲ་མདོག་གི་ཝ་མོ།",
    "სწრაფი ყავისფერი მელა გადახტა ზარმაც ძაღლზე.",
    "Արագ շագանակագույն աղվեսը ցատկում է ծույլ շան վրայով։",
    "ፈጣኑ ቡናማ ቀበሮ ሰነፍ ውሻ ላይ ዘለለ።",
    "敏捷的棕色狐狸跳过了懒狗。今天天气很好，我们去公园吧！",
    "這隻敏捷的棕色狐狸跳過了那隻懶狗；繁體中文「測試」。",
    "素早い茶色の狐はのろまな犬を飛び越える。カタカナ、ﾊﾝｶｸ、ひらがな123。",
    "재빠른 갈색 여우가 게으른 개를 뛰어넘는다. 안녕하세요?",
    "한글 자모 조합: 각 힣",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᐃᓄᒃᑎᑐᑦ ⴰⵎⴰⵣⵉⵖ",
    "def f(x): return x ** 2  # naïve\n\tif x != 0 and not y:\n        pass",
    "for (int i = 0; i < n; ++i) { sum += a[i]; } /* done */",
    "SELECT * FROM users WHERE name = 'O''Brien' AND id >= 42;",
    "https://example.org/path?q=a%20b&x=1#top mail@example.com C:\\Windows\\system32",
    "<html><body class=\"x\">&amp; &lt;b&gt;</body></html>",
    '{"key": [1, 2.5e-3, null, true], "ключ": "значение"}',
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇯🇵 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ ☕",
    "∑ᵢ xᵢ² ≤ ∞ ∀ε>0 ∃δ: ½ + ⅓ ≠ Ⅳ ™ © № ﬁ ﬃ ㎏ ㈱",
    "ＦＵＬＬ　ＷＩＤＴＨ １２３ ｔｅｘｔ！",
    "𝓗𝓮𝓵𝓵𝓸 𝕎𝕠𝕣𝕝𝕕 𐍈𐌰𐌹 𒀀𒁀 𓀀 𠀀𠮷",
    "Z̷̡̢͝a̶l̵g̸ó é vs é, ñ vs ñ, Å vs Å vs Å",
    "ǅ ǆ ß ẞ ı İ ſ K Ω ΐ ŉ ǰ",
    "'s 't 're 've 'm 'll 'd 'S 'RE ’s I'M WE'LL",
    "a  b   c    d\t\te\n\nf\r\ng\r\rh   ",
    "   leading and trailing   ",
    "word-word_word.word,word;word:word!word?word/word",
    "1 12 123 1234 12345 123456 1234567 ٠١٢ ०१२ ④ ⑩ ² ³",
    "...!!!???,,,---___***###@@@$$$%%%^^^&&&",
    "▁ ▁▁ ▁a a▁b ##ing ing## Ġ ĠĠa Ċ <0x41> </w> [unused1]",
]

SPECIALS = [
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<|endoftext|>",
    "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>", "<fim_prefix>",
]  # fmt: skip

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\ufeff", "\u00ad", "\x0b", "\x0c"]
CONTROLS = [chr(code) for code in (*range(1, 9), *range(14, 32), *range(127, 160), 0x200D, 0x200E, 0x202E, 0x2060, 0xFFFD, 0xFFF9)]
MARKS = [chr(code) for code in (*range(0x300, 0x370), 0x5B0, 0x5C1, 0x64E, 0x93C, 0x94D, 0xE31, 0x1AB0, 0x20D0, 0x3099, 0xFE0F, 0xFE20)]
# Where one likes to look: first and last of blocks, what normal forms change, what case changes.
CORNERS = [0x100, 0x17F, 0x1C4, 0x1E9E, 0x1F80, 0x2126, 0x212A, 0x3131, 0x3130, 0xAC00, 0xD7A3, 0xF900, 0xFB01, 0xFDFA,
           0xFF01, 0xFFDC, 0x10400, 0x10FFFF, 0x1D15E, 0x1F1E6, 0x1F600, 0x20000, 0x2F800, 0xE0001, 0xE000, 0xFFFE, 0x10000]  # fmt: skip


def any_char(luck):
    while True:
        kind = luck.random()
        if kind < 0.4:
            code = luck.randrange(0x20, 0x3000)
        elif kind < 0.8:
            code = luck.randrange(0x10000)
        elif kind < 0.9:
            code = luck.choice(CORNERS) + luck.randrange(4)
        else:
            code = luck.randrange(sys.maxunicode + 1)
        if not 0xD800 <= code <= 0xDFFF and 0 < code <= sys.maxunicode:
            return chr(code)


def odd_piece(luck):
    kind = luck.randrange(8)
    if kind == 0:
        return "".join(any_char(luck) for _ in range(luck.randrange(1, 12)))
    if kind == 1:
        return luck.choice(SPACES) * luck.randrange(1, 4)
    if kind == 2:
        return luck.choice(CONTROLS)
    if kind == 3:
        return luck.choice("aeiouAEyǍक가あ") + "".join(luck.choice(MARKS) for _ in range(luck.randrange(1, 5)))
    if kind == 4:
        return luck.choice(SPECIALS)
    if kind == 5:
        start = luck.choice((0x41, 0x3B1, 0x430, 0x5D0, 0x627, 0x905, 0xE01, 0x3041, 0x4E00, 0xAC00, 0x1F300))
        return "".join(chr(start + luck.randrange(26)) for _ in range(luck.randrange(1, 20)))
    if kind == 6:
        return str(luck.randrange(10 ** luck.randrange(1, 12)))
    return luck.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡«»“”…—、。！？") * luck.randrange(1, 4)


def words_of(luck):
    words = luck.choice(PHRASES).split(" ")
    start = luck.randrange(len(words))
    return " ".join(words[start : start + luck.randrange(1, 8)])


def line(luck):
    kind = luck.random()
    if kind < 0.02:
        return luck.choice(("", " ", "\n", "a", "\u00a0", "\u0301", "\U0001f600"))
    if kind < 0.2:
        return luck.choice(PHRASES)
    if kind < 0.6:
        return luck.choice(("", " ", "  ", "\n")).join(words_of(luck) for _ in range(luck.randrange(1, 4)))
    if kind < 0.62:  # one long word
        return luck.choice(("", " ")) + words_of(luck).replace(" ", "") * luck.randrange(2, 12)
    if kind < 0.85:
        parts = [words_of(luck) if luck.random() < 0.5 else odd_piece(luck) for _ in range(luck.randrange(1, 8))]
        return luck.choice(("", " ")).join(parts)
    return "".join(any_char(luck) for _ in range(luck.randrange(1, 30)))


def lines(count, seed=1):
    luck = random.Random(seed)
    return [line(luck) for _ in range(count)]
