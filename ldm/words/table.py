"""Common words of prompts, and what comes nearest to them in meaning: a small hand-made table.

Only data; `words` reads it and shows the targets that a model knows.  To add a word, put it into a row whose
targets could stand in its place in a sentence, the nearest first.  Words are singular and lower case.
"""

TABLE = """
    man woman person boy girl child kid human guy lady people doctor nurse teacher farmer cowboy soldier
        policeman fireman clown dancer face | robot, snowman, teddy bear
    baby toddler doll toy puppet plush | teddy bear, robot, balloon
    king queen prince princess | crown, castle
    knight warrior sword armor armour shield | castle, crown
    wizard witch vampire zombie monster demon | ghost, pumpkin, dinosaur
    astronaut cosmonaut spaceman spacewoman | rocket, robot
    android cyborg machine | robot
    alien ufo | alien, flying saucer, rocket, robot
    pirate sailor captain | sailboat
    angel fairy | butterfly, ghost, star
    santa christmas | snowman, gift, pine tree
    halloween | pumpkin, ghost
    easter | rabbit
    spirit phantom skeleton skull | skull, ghost

    animal pet creature mammal | dog, cat, horse
    wolf husky coyote jackal hound | wolf, fox, dog
    bear grizzly koala sloth raccoon badger | bear, teddy bear, panda
    tiger leopard cheetah panther jaguar puma lynx | tiger, lion, cat
    mouse rat hamster squirrel chipmunk gerbil mole beaver hedgehog kangaroo | mouse, squirrel, rabbit
    goat ram antelope deer moose gazelle reindeer elk | deer, goat, sheep, horse
    zebra donkey mule camel llama alpaca unicorn | zebra, horse, giraffe
    buffalo bull ox bison calf yak | cow
    boar | pig
    rhino rhinoceros hippo hippopotamus mammoth | rhino, hippo, elephant
    gorilla chimpanzee chimp orangutan baboon | gorilla, monkey
    crocodile alligator lizard gecko chameleon iguana dragon | crocodile, dragon, dinosaur, snake, turtle
    worm eel caterpillar cobra python viper | snake
    eagle hawk falcon vulture parrot pigeon dove crow raven sparrow robin seagull stork crane heron flamingo
        peacock hummingbird toucan | eagle, bird, owl
    chicken hen rooster turkey goose swan chick ostrich | rooster, duck, bird
    bat | bat, owl, bird
    shark dolphin orca narwhal | shark, dolphin, whale, fish
    seal walrus otter | penguin, whale
    salmon trout tuna goldfish seahorse | fish
    squid jellyfish starfish | squid, octopus, crab
    lobster shrimp prawn scorpion | lobster, crab
    spider tarantula | spider, crab, ladybug
    fly wasp mosquito dragonfly moth insect bug beetle ant cricket grasshopper | bee, ladybug, butterfly
    snail slug | snail, turtle, ladybug

    flower plant daisy lily orchid dandelion lotus blossom bouquet petal | tulip, rose, sunflower
    bush shrub oak maple birch willow branch leaf | tree, pine tree
    spruce fir | pine tree, tree
    bamboo fern | palm tree, tree
    jungle rainforest park garden grove | forest, meadow

    lemon lime mandarin grapefruit | lemon, orange
    peach apricot mango nectarine plum | peach, orange, apple
    raspberry blueberry berry cranberry blackberry | strawberry, cherries, grapes
    melon | watermelon
    coconut kiwi papaya | coconut, pineapple, watermelon
    tomato pepper chili | tomato, apple, carrot
    fruit | apple, banana, pear
    vegetable cucumber corn broccoli potato onion cabbage radish celery eggplant zucchini | carrot, pumpkin
    sandwich toast burrito taco sausage bacon steak | hamburger, pizza
    bread pie cheese pasta spaghetti noodle | bread, pizza, cake
    cookie pastry bagel pretzel croissant waffle pancake muffin cupcake | cookie, donut, cake
    candy chocolate dessert lollipop popsicle sundae gelato | ice cream, donut, cake
    food meal dinner lunch breakfast snack | pizza, hamburger, cake
    birthday party | cake, balloon, gift

    truck lorry van taxi cab jeep tractor suv limousine ambulance | truck, car, bus
    vehicle | car, bus, bicycle
    motorcycle motorbike scooter moped skateboard | motorcycle, bicycle, car
    ship yacht canoe ferry raft submarine kayak | ship, sailboat
    helicopter jet drone glider aeroplane | helicopter, airplane, rocket
    zeppelin blimp parachute kite | balloon, umbrella
    tram metro subway wagon carriage | train, bus
    spacecraft satellite shuttle missile | rocket
    planet earth mars jupiter saturn globe comet asteroid meteor | planet, moon, sun, star

    building tower skyscraper temple church school hospital barn hotel hut cabin mansion apartment
        lighthouse windmill | church, house, castle
    fortress fort kingdom | castle
    igloo | tent, snow
    camp camping | tent
    lake river pond stream waterfall pool | sea, ocean, water
    island coast shore bay | beach, sea
    hill cliff canyon volcano valley peak | volcano, mountain
    village downtown metropolis | town, city
    path trail bridge alley track | road, street
    farm pasture prairie savanna yard | field, meadow
    kitchen bedroom office bathroom classroom library hall | room
    backdrop wallpaper | background
    universe cosmos nebula | galaxy, space
    ground floor | grass, sand
    sunrise dawn morning twilight | sunset, dusk, evening
    noon afternoon midday daytime | day
    midnight nighttime darkness | night
    ice frost blizzard glacier | snow, winter
    icy snowy frozen wintry | snow, winter
    summer spring | day, beach
    rain storm thunder lightning fog mist | cloud, sky
    rainbow | rainbow, cloud, sun

    ball basketball baseball tennis volleyball | basketball, soccer ball, balloon
    box package parcel bag | gift
    hat cap helmet | top hat, crown
    piano violin drum trumpet music instrument banjo ukulele | violin, guitar
    love valentine | heart, rose
    diamond jewel gem | gem, star, crown
    lamp candle lantern torch | light bulb, candle, sun, moon
    fire flame | fire, sun
    oval ellipse sphere | circle
    rectangle cube | square
    pyramid cone | triangle

    painting sketch cartoon art artwork watercolor watercolour render rendering portrait
        | drawing, illustration, picture
    photograph photography photorealistic realistic | photo, picture
    icon logo sticker | emoji

    gold golden blonde | yellow, orange
    silver metallic | gray, white
    crimson scarlet maroon | red
    magenta fuchsia | pink, purple
    indigo navy azure | blue
    lavender lilac mauve | purple
    olive emerald mint | green
    beige tan bronze copper | brown
    aqua aquamarine | turquoise, blue
    ivory pale | white
    charcoal | black
    dark | black, night
    light | white, sunny
    bright | sunny, yellow

    enormous gigantic massive tall | huge, giant, big
    mini miniature | tiny, small, little
    one single | a
    six seven eight nine ten dozen many several few multiple | five, four, three
    couple both | two
    behind close around beyond between | next to, beside
    riding onto atop upon | on top of, above
    swimming diving | underwater
"""
# words without a picture of their own, which no model needs to have seen
SILENCE = """
    a an the and or of in on at to by from with as for is are was were be been being it its it's there here
    this that these those which who some any my your his her our their i you he she we they me him them us
    please
"""
SILENT = frozenset(SILENCE.split())


def read(table: str = TABLE) -> dict[str, tuple[str, ...]]:
    """Word -> what comes nearest to it."""
    nearest: dict[str, tuple[str, ...]] = {}
    waiting: list[str] = []
    for line in table.strip().splitlines():
        words, bar, targets = line.partition("|")
        waiting += words.split()
        if bar:
            nearest |= dict.fromkeys(waiting, tuple(target.strip() for target in targets.split(",")))
            waiting = []
    return nearest
