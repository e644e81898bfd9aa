// Made by Tools/oracles/dictionary.py; see there how. Do not edit: stored bundles need exactly these bytes.

import Wire

/// What transactions usually say, for LZ4: field names, punctuation between fields, common words.
enum CompressionDictionary {
  /// The version that bundle headers carry. Other bytes are another version, beside this one.
  static let version: UInt8 = 1

  /// The dictionary, valid for ever.
  static var bytes: RawSpan {
    @_lifetime(immortal) get {
      // A literal's bytes are part of the program.
      let span = unsafe RawSpan(
        _unsafeStart: UnsafeRawPointer(text.utf8Start), byteCount: text.utf8CodeUnitCount)
      return unsafe _overrideLifetime(span, copying: ())
    }
  }

  private static let text: StaticString = """
    Tokyo Osaka Kyoto Nagoya Sapporo Fukuoka Sendai Kobe London Paris Berlin Madrid Rome Cairo Lagos Nai\
    robi Johannesburg New York Los Angeles Chicago Toronto Mexico City Sao Paulo Buenos Aires Lima Sydne\
    y Melbourne Auckland Delhi Mumbai Beijing Shanghai Seoul Singapore Jakarta Antarctica North America \
    South America January February March April May June July August September October November December \
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday hospital school station shelter water food \
    power road bridge closed open medicine please help need urgent ありがとう 避難所 病院 薬 食料 電気 道\
    路 市役所 学校 駅 無事です お願いします 届きました","data":{""},"":null,"":true,"":false,"":[{""}],"\
    ":{"","status":"","message":"","name":"","address":"","category":"","description":"","currency":"","\
    balance":","created_at":"","updated_at":"","id":"","type":"transfer","","hash":"","signature":"","pu\
    blic_key":"","nonce":"version":1,"https://T00:00:00Z"日分 bread  L handed over 水 日分 Arrived at sh\
    elter 日分 薬の在庫: あと confirmed 水 日分 Volunteer shift , all safe 水 日分 水 日分 橋が通行止めで\
    す。迂回してください。日分 Need insulin, 日分 rent  doses, CityB"} 水 日分},"memo":"lunch"}},"memo":\
    "橋が通行止めです。迂回してください。"}},"memo":"rent , all safe"}},"memo":"水  を受け取りました"}},\
    "memo":"Volunteer shift  confirmed"}},"memo":"Generator fuel },"memo":"Arrived at shelter },"memo":"\
    bread  L handed over"}},"memo":"thank you"}},"memo":"Need insulin, },"memo":"避難所に到着しました。全\
    員無事です。"}},"memo":"薬の在庫: あと日分"}ml x , milk doses,,"municipality":"CityF","continent":"O\
    ceania","place":{"lat":,"municipality":"CityD","continent":"Europe","place":{"lat":,"municipality":"\
    CityE","continent":"Africa","place":{"lat":,"municipality":"CityA","continent":"Asia","place":{"lat"\
    :},"memo":""},"lon":{"tx_id":"","amount":","sender":","timestamp":","receiver":"
    """
}
