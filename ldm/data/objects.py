"""The table of everything that can be drawn: one row for each object, by kind.

Only data; `vocabulary` reads it.  To add an object, look at its glyph and add a row: a name must say what
a person would say who sees the picture.
"""

# name | code point | synonyms | natural colour ("-": never tinted).  A leading "~" marks a plural-only or
# uncountable name: it takes no article and is never counted.
TABLE: dict[str, str] = {
    "animal": """
        dog | 1F415 | puppy, doggy |
        cat | 1F408 | kitty, kitten | orange
        horse | 1F40E | pony | brown
        cow | 1F404 | |
        pig | 1F416 | piglet, hog | pink
        sheep | 1F411 | lamb |
        goat | 1F410 | |
        rooster | 1F413 | cockerel |
        rabbit | 1F407 | bunny, hare |
        mouse | 1F401 | |
        elephant | 1F418 | | gray
        giraffe | 1F992 | |
        tiger | 1F405 | | orange
        zebra | 1F993 | |
        lion | 1F981 | lion head |
        monkey | 1F412 | ape | brown
        gorilla | 1F98D | |
        bear | 1F43B | bear head | brown
        panda | 1F43C | panda bear |
        koala | 1F428 | koala bear | gray
        fox | 1F98A | fox head | orange
        wolf | 1F43A | wolf head | gray
        deer | 1F98C | stag | brown
        frog | 1F438 | toad | green
        turtle | 1F422 | tortoise | green
        snake | 1F40D | serpent | green
        crocodile | 1F40A | alligator | green
        duck | 1F986 | mallard |
        owl | 1F989 | | brown
        penguin | 1F427 | |
        bird | 1F426 | songbird | blue
        eagle | 1F985 | |
        fish | 1F420 | tropical fish | yellow
        shark | 1F988 | | gray
        dolphin | 1F42C | | blue
        whale | 1F433 | | blue
        octopus | 1F419 | |
        squid | 1F991 | |
        crab | 1F980 | | red
        lobster | 1F99E | | red
        snail | 1F40C | | brown
        butterfly | 1F98B | monarch butterfly | orange
        bee | 1F41D | honeybee, bumblebee |
        ladybug | 1F41E | ladybird | red
        spider | 1F577 | | gray
        unicorn | 1F984 | unicorn head |
        dragon | 1F409 | | green
        dinosaur | 1F996 | t-rex | green
        camel | 1F42B | |
        kangaroo | 1F998 | |
        hedgehog | 1F994 | |
        squirrel | 1F43F | chipmunk |
        hippo | 1F99B | hippopotamus |
        rhino | 1F98F | rhinoceros |
        bat | 1F987 | | brown
        parrot | 1F99C | macaw | green
        peacock | 1F99A | |
        turkey | 1F983 | |
        flamingo | 1F9A9 | | pink
        swan | 1F9A2 | | white
        chick | 1F425 | baby chicken | yellow
    """,
    "plant": """
        tree | 1F333 | oak tree | green
        pine tree | 1F332 | fir tree, evergreen | green
        palm tree | 1F334 | palm | green
        cactus | 1F335 | | green
        tulip | 1F337 | | pink
        rose | 1F339 | | red
        sunflower | 1F33B | | yellow
        cherry blossom | 1F338 | blossom | pink
        mushroom | 1F344 | toadstool | red
        maple leaf | 1F341 | | red
        clover | 1F340 | four leaf clover | green
    """,
    "food": """
        apple | 1F34E | | red
        pear | 1F350 | | green
        orange | 1F34A | tangerine |
        lemon | 1F34B | | yellow
        banana | 1F34C | | yellow
        watermelon | 1F349 | slice of watermelon | -
        ~grapes | 1F347 | a bunch of grapes | purple
        strawberry | 1F353 | | red
        ~cherries | 1F352 | a pair of cherries | red
        pineapple | 1F34D | | yellow
        peach | 1F351 | |
        coconut | 1F965 | |
        kiwi | 1F95D | kiwi fruit | green
        avocado | 1F951 | | green
        tomato | 1F345 | | red
        carrot | 1F955 | | orange
        ~corn | 1F33D | an ear of corn | yellow
        eggplant | 1F346 | aubergine | purple
        ~broccoli | 1F966 | | green
        potato | 1F954 | |
        pizza | 1F355 | slice of pizza |
        hamburger | 1F354 | burger, cheeseburger |
        ~french fries | 1F35F | fries |
        hot dog | 1F32D | hotdog |
        taco | 1F32E | |
        ~bread | 1F35E | a loaf of bread |
        croissant | 1F950 | |
        pretzel | 1F968 | | brown
        ~cheese | 1F9C0 | a piece of cheese | yellow
        egg | 1F95A | |
        donut | 1F369 | doughnut | brown
        cookie | 1F36A | biscuit | brown
        cake | 1F382 | birthday cake |
        ice cream | 1F366 | ice cream cone |
        cupcake | 1F9C1 | muffin |
        lollipop | 1F36D | | -
        cup of coffee | 2615 | coffee cup, coffee mug | white
        beer | 1F37A | mug of beer | yellow
        glass of wine | 1F377 | wine glass | -
        ~popcorn | 1F37F | a box of popcorn |
    """,
    "vehicle": """
        car | 1F697 | auto, automobile | red
        taxi | 1F695 | cab, taxicab | yellow
        bus | 1F68C | coach |
        police car | 1F693 | |
        ambulance | 1F691 | | white
        fire truck | 1F692 | fire engine | red
        truck | 1F69A | lorry |
        tractor | 1F69C | | green
        bicycle | 1F6B2 | bike | blue
        motorcycle | 1F3CD | motorbike | red
        scooter | 1F6F5 | motor scooter |
        race car | 1F3CE | racing car | red
        train | 1F682 | steam train, locomotive |
        airplane | 2708 | plane, aeroplane, aircraft |
        helicopter | 1F681 | chopper | yellow
        rocket | 1F680 | spaceship |
        flying saucer | 1F6F8 | ufo |
        sailboat | 26F5 | sailing boat, boat | red
        ship | 1F6F3 | cruise ship |
        canoe | 1F6F6 | |
    """,
    "place": """
        house | 1F3E0 | cottage |
        castle | 1F3F0 | palace |
        church | 26EA | chapel |
        tent | 26FA | | orange
        volcano | 1F30B | |
        factory | 1F3ED | |
        ferris wheel | 1F3A1 | |
        fountain | 26F2 | |
    """,
    "nature": """
        sun | 2600 | | yellow
        moon | 1F319 | crescent moon | yellow
        star | 2B50 | | yellow
        cloud | 2601 | | white
        lightning bolt | 26A1 | bolt of lightning | yellow
        snowflake | 2744 | | blue
        rainbow | 1F308 | | -
        ~fire | 1F525 | flames | orange
        earth | 1F30D | globe | -
        planet | 1FA90 | ringed planet |
        wave | 1F30A | ocean wave | blue
        water drop | 1F4A7 | drop of water | blue
    """,
    "thing": """
        heart | 2764 | | red
        robot | 1F916 | robot head | gray
        snowman | 26C4 | | white
        umbrella | 2602 | parasol | purple
        soccer ball | 26BD | football |
        basketball | 1F3C0 | | orange
        baseball | 26BE | | white
        tennis racket | 1F3BE | racket |
        balloon | 1F388 | | red
        gift | 1F381 | present, gift box |
        guitar | 1F3B8 | electric guitar | red
        violin | 1F3BB | fiddle | brown
        trumpet | 1F3BA | | yellow
        saxophone | 1F3B7 | | yellow
        drum | 1F941 | | red
        camera | 1F4F7 | | black
        television | 1F4FA | tv |
        laptop | 1F4BB | computer, laptop computer | gray
        phone | 1F4F1 | smartphone, mobile phone | black
        alarm clock | 23F0 | clock | red
        key | 1F511 | | yellow
        lock | 1F512 | padlock | yellow
        light bulb | 1F4A1 | lightbulb, bulb | yellow
        stack of books | 1F4DA | pile of books | -
        book | 1F4D5 | closed book | red
        ~scissors | 2702 | a pair of scissors | red
        hammer | 1F528 | |
        chair | 1FA91 | wooden chair | brown
        crown | 1F451 | | yellow
        top hat | 1F3A9 | hat | black
        ~glasses | 1F453 | eyeglasses, a pair of glasses |
        sneaker | 1F45F | shoe, running shoe | blue
        t-shirt | 1F455 | shirt, tee shirt | blue
        dress | 1F457 | | blue
        backpack | 1F392 | rucksack, school bag | red
        gem | 1F48E | diamond, jewel | blue
        trophy | 1F3C6 | golden cup | yellow
        ghost | 1F47B | | white
        pumpkin | 1F383 | jack-o'-lantern | orange
        skull | 1F480 | | white
        alien | 1F47D | alien head | gray
        teddy bear | 1F9F8 | teddy | brown
        candle | 1F56F | | white
        bell | 1F514 | | yellow
        kite | 1FA81 | | -
        die | 1F3B2 | game die | white
        shield | 1F6E1 | |
        bomb | 1F4A3 | | black
        anchor | 2693 | | gray
        hourglass | 231B | sand timer |
        magnet | 1F9F2 | | red
        pencil | 270F | |
        telescope | 1F52D | |
    """,
    "shape": """
        circle | 0 | disc |
        square | 0 | |
        triangle | 0 | |
        hexagon | 0 | |
        ring | 0 | hoop |
        rhombus | 0 | diamond shape |
    """,
}
