"""Narrations of a soup in five languages: what a caption file says, sentence by sentence, and words to look them up by.

``asked``: a word as people type it (another form, without accents, or a part of a sentence without spaces) and the number of
the sentence that it must find.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Narration:
    language: str
    voice: str
    sentences: tuple[str, ...]
    asked: tuple[tuple[str, int], ...]


NARRATIONS = (
    Narration(
        "de", "de",
        (
            "Heute kochen wir zusammen eine einfache Gemüsesuppe.", "Zuerst schälen wir die Möhren mit einem scharfen Messer.",
            "Dann schneiden wir die Zwiebeln in kleine Würfel.", "Das Öl erhitzen wir in einem großen Topf.",
            "Die Zwiebelwürfel braten wir, bis sie glasig sind.", "Danach geben wir das Wasser und etwas Salz dazu.",
            "Wie lange muss die Suppe kochen?", "Nach zwanzig Minuten sind die Kartoffeln weich.",
            "Zum Schluss streuen wir frische Kräuter darüber.", "Guten Appetit!",
        ),
        (("Möhre", 1), ("mohren", 1), ("die Zwiebel", 2), ("Kartoffel", 7), ("frisches Kraut", 8), ("grosse", 3)),
    ),
    Narration(
        "fr", "fr-fr",
        (
            "Aujourd'hui nous préparons une soupe aux légumes.", "D'abord, on épluche les carottes avec un couteau.",
            "Ensuite, nous coupons les oignons en petits dés.", "Faites chauffer l'huile dans une grande casserole.",
            "Les oignons doivent devenir transparents.", "Ajoutez de l'eau et un peu de sel.",
            "Combien de temps faut-il cuire la soupe ?", "Après vingt minutes, les pommes de terre sont tendres.",
            "À la fin, on parsème d'herbes fraîches.", "Bon appétit !",
        ),
        (("carotte", 1), ("eplucher", 1), ("petit oignon", 2), ("légume", 0), ("legumes", 0), ("la casserole", 3), ("chauffé", 3), ("fraiche", 8)),
    ),
    Narration(
        "zh", "cmn",
        (
            "今天我们一起做一锅简单的蔬菜汤。", "首先用锋利的刀给胡萝卜去皮。", "然后把洋葱切成小块。", "在大锅里把油烧热。",
            "把洋葱炒到透明为止。", "接着加水和一点盐。", "汤要煮多长时间呢？", "二十分钟以后，土豆就软了。", "最后撒上新鲜的香菜。", "请慢慢享用！",
        ),
        (("胡萝卜", 1), ("洋葱怎么切成小块", 2), ("土豆", 7), ("香菜", 8), ("蔬菜汤", 0)),
    ),
    Narration(
        "ja", "ja",
        (
            "今日は簡単な野菜スープを作りましょう。", "まず、にんじんの皮をむきます。", "次に、玉ねぎを小さく切ります。", "大きな鍋で油を熱します。",
            "玉ねぎが透き通るまで炒めます。", "それから水と塩を少し加えます。", "スープはどのくらい煮ますか？", "二十分後にはじゃがいもが柔らかくなります。",
            "最後に新鮮なハーブを散らします。", "どうぞ召し上がれ！",
        ),
        (("にんじん", 1), ("玉ねぎを切る", 2), ("じゃがいも", 7), ("ﾊｰﾌﾞ", 8), ("野菜スープ", 0)),
    ),
    Narration(
        "ar", "ar",
        (
            "اليوم نطبخ معا حساء الخضار البسيط.", "أولاً نقشر الجزر بسكين حاد.", "ثم نقطع البصل إلى مكعبات صغيرة.", "نسخن الزيت في قدر كبير.",
            "نقلي البصل حتى يصبح شفافا.", "بعد ذلك نضيف الماء وقليلا من الملح.", "كم من الوقت يجب أن يطبخ الحساء؟", "بعد عشرين دقيقة تصبح البطاطس طرية.",
            "في النهاية نرش الأعشاب الطازجة.", "بالهناء والشفاء!",
        ),
        (("الجزر", 1), ("جزر", 1), ("والجزر", 1), ("البطاطس", 7), ("بطاطس", 7), ("أعشاب", 8), ("الزَّيْت", 3)),
    ),
)  # fmt: skip
