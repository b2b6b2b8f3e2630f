# include(${Slicer_EXTENSION_GENERATE_CONFIG}): the description that the Extensions Index needs must be complete.

foreach(variable IN ITEMS EXTENSION_HOMEPAGE EXTENSION_CONTRIBUTORS EXTENSION_DESCRIPTION EXTENSION_ICONURL
                          EXTENSION_SCREENSHOTURLS EXTENSION_DEPENDS)
  if("${${variable}}" STREQUAL "")
    message(FATAL_ERROR "${variable} is not set")
  endif()
endforeach()
foreach(variable IN ITEMS EXTENSION_HOMEPAGE EXTENSION_ICONURL)
  if(NOT "${${variable}}" MATCHES "^https://")
    message(FATAL_ERROR "${variable} is not an https address: ${${variable}}")
  endif()
endforeach()
if(NOT EXTENSION_NAME STREQUAL PROJECT_NAME)
  message(FATAL_ERROR "the project is called ${PROJECT_NAME}, the extension ${EXTENSION_NAME}")
endif()
