"""Common English words, nearly each of them one token in nearly every vocabulary."""

WORDS = """
able about above across after again air all almost along already also always among and any area
around art ask at away back bad base be because become been before began behind being best better
between big black blue body book both box boy bring brought build built business but buy by call
came can car care carry case cause center certain change child city class clear close cold come
common complete control cost could country course cut dark day dead deal death deep did different do
does door down draw drive each early earth east easy eat effect end enough even ever every example
eye face fact fall family far fast father feel feet few field figure fill final find fine fire first
fish five follow food foot for force form found four free friend from front full game gave general
get girl give go gold good got great green ground group grow had half hand happen hard has have he
head hear heart heat heavy help her here high him his hold home horse hot hour house how human
hundred idea if in inch into is island it its job just keep kind king knew know land language large
last late lead learn leave left less let letter level life light like line list little live long
look lot love low machine made main make man many map mark may mean men might mile mind miss money
month moon more morning most mother mountain move much music must my name near need never new next
night no north note nothing now number of off office often old on once one only open or order other
our out over own page paper part party pass past people person picture piece place plan plane play
point poor power present problem produce public pull put question quick rain ran reach read ready
real red rest right river road rock room round rule run said same saw say school sea second see seem
self sense serve set seven several shape she ship short should show side since sing sit six size
small so social some song soon sound south space special stand star start state stay step still stop
story street strong study such summer sun sure system table take talk teach tell ten test than that
the their them then there these they thing think this those though thought thousand three through
time to today together told too took top total toward town travel tree true try turn two under unit
until up upon us use very voice wait walk wall want war warm was watch water way we week weight well
went were west what wheel when where which while white who whole why wide will wind wish with
without woman wonder wood word work world would write year yes yet you young your
""".split()  # noqa: SIM905  (a list of its own lines would be pages long)
