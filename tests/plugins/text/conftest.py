"""Files as people have them, written out by hand."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says more about the machine than about the code
settings.register_profile("text", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("text")

EPIDOC = """<?xml version="1.0" encoding="UTF-8"?>
<?xml-model href="http://epidoc.example/schema.rng"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"  xml:lang='en'><teiHeader><fileDesc>
<titleStmt><title>A &amp; B</title></titleStmt></fileDesc></teiHeader>
<text><body><!-- kept --><div type="edition">
<ab><lb n="1"/>Imp<gap reason="lost" quantity="4" unit="character"/> C<unclear>ae</unclear>sar
 <lb n="2"/>divi <gap reason="lost" extent="unknown" unit="character"/> f<supplied reason="lost"
 >ilius</supplied> &#x410;&lt;x <lb n="3" break="no"/>cos
<gap reason="lost" atLeast="2" atMost="5" unit="character"/><note>not text</note>
<gap reason="lost" quantity="2" unit="line"/></ab></div></body></text></TEI>
"""

ALTO_FILE = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v{version}#"><Layout><Page ID="p"><PrintSpace>
<TextBlock ID="b1"><TextLine ID="l1">
  <String ID="s1" CONTENT="Tbe" WC="0.70" CC="0 9 3"><ALTERNATIVE>The</ALTERNATIVE></String><SP/>
  <String ID="s2" CONTENT='cat &amp; "d0g&quot;' WC="0.9"/>
</TextLine><TextLine ID="l2"><String CONTENT="ab">
  <Glyph CONTENT="a" GC="0.8"/><Glyph CONTENT="b" GC="0.4"><Variant CONTENT="h" VC="0.3"/></Glyph>
</String><HYP CONTENT="-"/></TextLine></TextBlock>
<TextBlock ID="b2"><TextLine><String CONTENT="end"/></TextLine></TextBlock>
</PrintSpace></Page></Layout></alto>
"""

PAGE_FILE = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"><Page>
<ReadingOrder><OrderedGroup id="g"><RegionRefIndexed index="1" regionRef="r1"/>
<RegionRefIndexed index="0" regionRef="r2"/></OrderedGroup></ReadingOrder>
<TextRegion id="r1"><TextLine id="l1">
 <Word id="w1"><Glyph id="g1"><TextEquiv conf="0.5"><Unicode>o</Unicode></TextEquiv></Glyph>
  <Glyph id="g2"><TextEquiv conf="0.6"><Unicode>f</Unicode></TextEquiv></Glyph>
  <TextEquiv index="1" conf="0.2"><Unicode>oi</Unicode></TextEquiv>
  <TextEquiv index="0" conf="0.7"><Unicode>of</Unicode></TextEquiv></Word>
 <Word id="w2"><TextEquiv><Unicode>t&lt;he</Unicode></TextEquiv></Word>
 <TextEquiv><Unicode>of t&lt;he</Unicode></TextEquiv></TextLine>
 <TextEquiv><Unicode>of t&lt;he</Unicode></TextEquiv></TextRegion>
<TextRegion id="r2"><TextLine id="l2"><TextEquiv conf="0.9"><Unicode>Title</Unicode></TextEquiv>
</TextLine></TextRegion></Page></PcGts>
"""

HOCR_FILE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
    "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head><title></title><meta name='ocr-system' content='tesseract 5.3.0' /></head>
 <body><div class='ocr_page' id='page_1' title='image "x.png"; bbox 0 0 640 480; ppageno 0'>
  <p class='ocr_par'><span class='ocr_line' id='line_1_1' title="bbox 36 92 580 122">
   <span class='ocrx_word' title='bbox 36 92 93 116; x_wconf 91'>Tbe</span>
   <span class='ocrx_word' title='x_wconf 40; x_confs 90 80 70'><strong>c&amp;t</strong></span>
  </span><span class='ocr_line'>
   <span class='ocrx_word' title='x_wconf 88'><span class='ocrx_cinfo' title='x_conf 99'>s</span
   ><span class='ocrx_cinfo' title='x_conf 51.5'>o</span></span></span></p></div>
 </body>
</html>
"""


@pytest.fixture
def epidoc() -> str:
    return EPIDOC


@pytest.fixture(params=[2, 3, 4])
def alto(request: pytest.FixtureRequest) -> str:
    return ALTO_FILE.replace("{version}", str(request.param))


@pytest.fixture
def page() -> str:
    return PAGE_FILE


@pytest.fixture
def hocr() -> str:
    return HOCR_FILE


@pytest.fixture(scope="session")
def samples() -> dict[str, str]:
    """One file of each kind that readers of pages write."""
    return {"alto": ALTO_FILE.replace("{version}", "4"), "page": PAGE_FILE, "hocr": HOCR_FILE}
